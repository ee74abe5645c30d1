"""One step of a study and the record that says it is done."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgcp.utils.errors import UserError
from mmgcp.utils.files import file_sha256, read_json

#: Kinds of steps and first guesses of their seconds, until something was measured.
KINDS = {
    'data': 30,
    'check': 60,
    'pretrain': 60,
    'convert': 5,
    'export': 5,
    'transfer': 120,
    'evaluate': 20,
    'pictures': 15,
    'costs': 30,
    'analysis': 120,
}
TRAININGS = ('pretrain', 'transfer')


class StudyError(UserError):
    """A study that cannot go on; the message says which file, key and way out."""


def digest(content: Any) -> str:
    """The sha256 of plain Python data, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def removed_mark(path: Path) -> Path:
    """The file that stands for one that ``--keep report`` removed."""
    return path.with_name(path.name + '.removed')


def is_removed(path: Path) -> bool:
    """Whether a file was removed when nothing needed it any more."""
    return not path.exists() and removed_mark(path).is_file()


def fingerprint(path: Path, known: dict | None = None) -> dict:
    """Hash of a file; one that is ``known`` holds while size and time are the same."""
    if is_removed(path):
        return read_json(removed_mark(path))
    stat = path.stat()
    found = {'size': stat.st_size, 'mtime_ns': stat.st_mtime_ns}
    if known and found.items() <= known.items():
        return known
    return {'sha256': file_sha256(path), **found}


@dataclass(eq=False)
class Step:
    """One command line of a study."""

    name: str  # unique, and the folder below the study's `steps`
    kind: str  # one of KINDS
    command: list[str]  # without what starts several processes
    result: Path  # the file that the command leaves when it succeeded
    work_dir: Path  # folder of log, record and files
    deps: list[str] = field(default_factory=list)  # steps that have to be done before
    inputs: list[Path] = field(default_factory=list)  # files it reads, to be hashed
    files: dict[Path, str] = field(default_factory=dict)  # to be written before it runs
    content: Any = None  # what else decides the result, such as the merged config
    weights: Any = None  # path of the last checkpoint of a training
    resume_mark: Path | None = None  # there when `--resume` can go on; changes then
    processes: int = 1  # started by torchrun
    expected_seconds: float = 60.0
    meta: dict[str, Any] = field(default_factory=dict)  # encoder, task, seed, ...

    def __post_init__(self) -> None:
        self.group = self.name.partition('/')[0]  # its steps take equally long
        self.exclusive = self.kind == 'costs'  # measures time: runs alone
        self.log = self.work_dir / 'log.txt'
        self.record_file = self.work_dir / 'step.json'
        self.history_file = self.work_dir / 'attempts.json'
        self.job_file = self.work_dir / 'job.json'
        self.cancelled_file = self.work_dir / 'cancelled'

    def record(self) -> dict:
        """What was recorded when the step was done; empty before."""
        return read_json(self.record_file) if self.record_file.is_file() else {}

    def history(self) -> dict:
        """The attempts so far: ``{'key': ..., 'attempts': [...]}``, or empty."""
        return read_json(self.history_file) if self.history_file.is_file() else {}

    def checkpoint(self) -> str | None:
        """The checkpoint to go on from; differs after every one that was written."""
        mark = self.resume_mark
        if mark is None or not mark.is_file():
            return None
        return f'{mark.read_text().strip()}, {mark.stat().st_mtime_ns}'

    def is_done(self, expected_hash: str) -> bool:
        """Whether result and record exist and nothing it depends on changed."""
        record = self.record()
        needed = [path for path in (self.result, self.weights, *self.inputs) if path]
        there = all(path.exists() or is_removed(path) for path in needed)
        if record.get('hash') != expected_hash or not there:
            return False
        for path in self.inputs:
            before = record['inputs'].get(str(path), {})
            if fingerprint(path, before)['sha256'] != before.get('sha256'):
                return False
        return True


def launched(command: list[str], processes: int, *layout: str) -> list[str]:
    """A command as it is started: by torchrun if it has several processes.

    ``layout`` are options of torchrun; all processes on this machine by default.
    """
    if processes == 1:
        return list(command)
    layout = layout or ('--standalone', f'--nproc_per_node={processes}')
    return [command[0], '-m', 'torch.distributed.run', *layout, *command[1:]]


def thread_variables(threads: int) -> dict[str, str]:
    """Environment of a step whose processes have a number of threads each."""
    count = str(max(1, threads))
    names = ('OMP_NUM_THREADS', 'MKL_NUM_THREADS')
    return {**dict.fromkeys(names, count), 'PYTHONUNBUFFERED': '1'}


def hash_steps(steps: list[Step]) -> dict[str, str]:
    """Hash of each step and of all before it, by name; each comes after those."""
    hashes: dict[str, str] = {}
    for step in steps:
        files = {str(path): text for path, text in step.files.items()}
        deps = {name: hashes[name] for name in step.deps}
        content = [step.command, step.processes, step.content, files, deps]
        hashes[step.name] = digest(content)
    return hashes

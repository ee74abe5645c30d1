"""One step of a study and the record that says it is done."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgcp.utils.errors import UserError
from mmgcp.utils.files import write_text

RECORD = 'step.json'
ATTEMPTS = 'attempts.json'
LOG = 'log.txt'


class StudyError(UserError):
    """A study that cannot go on; the message says which file, key and way out."""


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON with :func:`write_text`; keys keep their order."""
    write_text(path, json.dumps(content, indent=2, default=str) + '\n')


def read_json(path: str | Path) -> Any:
    """Read a JSON file, or return None when there is none that can be read."""
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def digest(content: Any) -> str:
    """The sha256 of plain Python data, independent of the order of keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def fingerprint(path: str | Path, known: dict | None = None) -> dict:
    """Hash a file; a ``known`` fingerprint of the same size and time is trusted.

    Args:
        path: File to hash.
        known: What this function returned for the file before.

    Returns:
        ``{'sha256': ..., 'size': bytes, 'mtime_ns': ...}``.
    """
    stat = os.stat(path)
    found = {'size': stat.st_size, 'mtime_ns': stat.st_mtime_ns}
    if known and all(known.get(key) == value for key, value in found.items()):
        return dict(known)
    sha = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return {'sha256': sha.hexdigest(), **found}


@dataclass
class Step:
    """One command line of a study.

    Args:
        name: Unique, also the folder below the study's ``steps``.
        kind: What the step is (``pretrain``, ``transfer``, ...): steps of one kind
            are expected to take about as long as each other.
        command: Argument list. It must not depend on how many jobs run.
        result: The file that the command leaves when it succeeded.
        work_dir: Folder of the step's log, record and files.
        deps: Names of the steps that have to be done before.
        inputs: Files it reads that are worth hashing (checkpoints, manifests).
        files: Text files to write before the command runs, by path.
        content: Anything else that decides the result, e.g. the merged config.
        env: Variables that the command needs in its environment.
        resume: Arguments to append when ``resume_mark`` exists already.
        resume_mark: File that says a killed attempt can be continued.
        exclusive: Run with no other step beside it (measures time).
        processes: Processes the command starts (torchrun).
        expected_seconds: First guess for the display.
        meta: What the report wants to know (encoder, task, seed, ...).
    """

    name: str
    kind: str
    command: list[str]
    result: Path
    work_dir: Path
    deps: list[str] = field(default_factory=list)
    inputs: list[Path] = field(default_factory=list)
    files: dict[Path, str] = field(default_factory=dict)
    content: Any = None
    env: dict[str, str] = field(default_factory=dict)
    resume: list[str] = field(default_factory=list)
    resume_mark: Path | None = None
    exclusive: bool = False
    processes: int = 1
    expected_seconds: float = 60.0
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.work_dir / LOG

    @property
    def record_file(self) -> Path:
        return self.work_dir / RECORD

    def hash(self, hashes: dict[str, str]) -> str:
        """Hash of the step and, through ``hashes``, of all steps before it."""
        return digest(
            {
                'command': self.command,
                'content': self.content,
                'env': self.env,
                'files': {str(path): text for path, text in self.files.items()},
                'deps': {name: hashes[name] for name in self.deps},
            }
        )

    def record(self) -> dict | None:
        return read_json(self.record_file)

    def is_done(self, expected_hash: str) -> bool:
        """Whether result and record exist and nothing it depends on changed."""
        record = self.record()
        if not record or record.get('hash') != expected_hash:
            return False
        if not self.result.exists():
            return False
        known = record.get('inputs', {})
        for path in self.inputs:
            before = known.get(str(path))
            if before is None or not path.is_file():
                return False
            if fingerprint(path, before)['sha256'] != before['sha256']:
                return False
        return True


def order(steps: list[Step]) -> list[Step]:
    """Sort steps so that each comes after those it depends on (stable).

    Raises:
        StudyError: A name is used twice, a dependency does not exist, or
            steps wait for each other.
    """
    by_name = {step.name: step for step in steps}
    if len(by_name) != len(steps):
        twice = sorted({s.name for s in steps if by_name[s.name] is not s})
        raise StudyError(f'steps named twice: {", ".join(twice)}')
    for step in steps:
        for name in step.deps:
            if name not in by_name:
                raise StudyError(f'step {step.name} waits for unknown step {name}')
    done: dict[str, Step] = {}
    left = list(steps)
    while left:
        ready = [step for step in left if all(name in done for name in step.deps)]
        if not ready:
            names = ', '.join(step.name for step in left)
            raise StudyError(f'steps wait for each other: {names}')
        # One at a time keeps the order of the plan wherever the graph allows it.
        done[ready[0].name] = ready[0]
        left.remove(ready[0])
    return list(done.values())


def hash_steps(steps: list[Step]) -> dict[str, str]:
    """Hash of each step, by name."""
    hashes: dict[str, str] = {}
    for step in order(steps):
        hashes[step.name] = step.hash(hashes)
    return hashes

"""Run the steps of a study: each when it may, what is done not again."""

import contextlib
import math
import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmgcp.utils.files import read_json, write_json, write_text
from mmgcp.utils.progress import format_seconds, last_lines

from .local import LocalBackend, LocalJob
from .progress import Display
from .slurm import SlurmBackend, SlurmJob
from .step import (
    Step,
    StudyError,
    digest,
    fingerprint,
    hash_steps,
    is_removed,
    launched,
    removed_mark,
)

#: A disk with less is full: no checkpoint fits.
_LEAST_BYTES = 50e6

Backend = LocalBackend | SlurmBackend
Job = LocalJob | SlurmJob


class Scheduler:
    """Runs a graph of steps.

    Args:
        steps: The graph; each step after those it depends on.
        backend: Where the steps run.
        display: Where their state is shown.
        retries: How often a training that dies after a new checkpoint is resumed.
    """

    def __init__(
        self, steps: list[Step], backend: Backend, display: Display, retries: int = 0
    ) -> None:
        self.steps = steps
        self.retries = dict.fromkeys((step.name for step in steps), retries)
        self.hashes = hash_steps(steps)
        self.backend = backend
        self.display = display
        self.state = {step.name: 'waiting' for step in steps}
        #: Step, job and attempts of what runs now.
        self.running: dict[str, tuple[Step, Job, dict]] = {}

    def run(self) -> dict[str, str]:
        """Run what is not done; returns which steps are done, failed or skipped.

        When it is interrupted it ends the steps that run.

        Raises:
            StudyError: The backend cannot run one of them; nothing has started then.
        """
        hashes = self.hashes
        self.backend.check([s for s in self.steps if not s.is_done(hashes[s.name])])
        with self.display.bars:
            try:
                self._start_ready()
                while self.running:
                    time.sleep(self.backend.poll_seconds)
                    for step, job, history in list(self.running.values()):
                        status = job.poll()
                        if status is not None:
                            self._finish(step, job, history, status)
                    self._start_ready()
                    self.display.refresh()
            except BaseException:
                for _, job, _ in self.running.values():
                    job.interrupt()
                for _, job, _ in self.running.values():
                    job.stop()
                raise
        return dict(self.state)

    def _start_ready(self) -> None:
        for step in self.steps:
            if self.state[step.name] == 'waiting':
                self._settle(step)
            if self.state[step.name] == 'ready':
                running = [other for other, _, _ in self.running.values()]
                if self.backend.has_room(step, running):
                    self._start(step)

    def _settle(self, step: Step) -> None:
        """See whether a step is done already, may start, or can no longer run."""
        lost = [n for n in step.deps if self.state[n] in ('failed', 'skipped')]
        if lost:
            self._set(step, 'skipped', f'needs {lost[0]}')
        elif all(self.state[name] == 'done' for name in step.deps):
            self.state[step.name] = 'ready'
            if step.is_done(self.hashes[step.name]):
                self._set(step, 'done', 'before', step.record()['seconds'])

    def _start(self, step: Step) -> None:
        for path in step.inputs:
            if is_removed(path):
                text = f'{path} was removed by --keep report. To make it again, '
                text += f'delete {removed_mark(path)}'
                return self._set(step, 'failed', text)
        inputs = {str(path): fingerprint(path)['sha256'] for path in step.inputs}
        key = digest([self.hashes[step.name], inputs])
        history = step.history()
        job: Job | None = None
        if history and 'ended' not in history['attempts'][-1]:
            job = self.backend.attach(step, history['attempts'][-1]['job'])
        if history.get('key') != key:
            # The step or what it reads changed: forget it with all its files.
            if job is not None:
                job.stop()
            job = None
            if step.work_dir.exists():
                shutil.rmtree(step.work_dir)
            history = {'key': key, 'attempts': []}
        try:
            job = job or self._new_attempt(step, history)
        except StudyError as error:
            history['attempts'][-1].update(ended=_now(), problem=str(error))
            write_json(step.history_file, history)
            return self._set(step, 'failed', str(error))
        self.running[step.name] = step, job, history
        self._set(step, 'running', job.name)

    def _new_attempt(self, step: Step, history: dict[str, Any]) -> Job:
        step.work_dir.mkdir(parents=True, exist_ok=True)
        for path, text in step.files.items():
            write_text(path, text)
        step.record_file.unlink(missing_ok=True)
        # Written as `python` so that it can be typed, and hashed, everywhere.
        command = [sys.executable if w == 'python' else w for w in step.command]
        if step.checkpoint() is not None:
            command.append('--resume')
        elif step.work_dir in step.result.parents:
            step.result.unlink(missing_ok=True)
        attempt = {
            'started': _now(),
            'time': time.time(),
            'job': '',
            'checkpoint': step.checkpoint(),
            'command': command,
            'env': self.backend.environment(step),
        }
        history['attempts'].append(attempt)
        # Before it starts: killed right after, it can be resumed already.
        write_json(step.history_file, history)
        with open(step.log, 'a', encoding='utf-8') as log:
            line = shlex.join(launched(command, step.processes))
            log.write(f'# {attempt["started"]} $ {line}\n')
        job = self.backend.start(step, command)
        attempt['job'] = job.name
        write_json(step.history_file, history)
        return job

    def _finish(self, step: Step, job: Job, history: dict, status: int) -> None:
        del self.running[step.name]
        problem = job.problem or _problem(step, status)
        if status:
            job.stop()  # nothing of it is left, and a cluster does not start it again
        attempts = history['attempts']
        attempts[-1].update(
            ended=_now(),
            seconds=time.time() - attempts[-1]['time'],
            status=status,
            requeues=job.requeues,
            problem=problem,
        )
        write_json(step.history_file, history)
        advanced = step.checkpoint() != attempts[-1]['checkpoint']
        if status and advanced and self.retries[step.name]:
            self.retries[step.name] -= 1
            return self._set(step, 'ready', f'{problem}; goes on from its checkpoint')
        if problem:
            return self._set(step, 'failed', f'{problem}; log: {step.log}')
        result = fingerprint(step.result) if step.result.is_file() else None
        # A killed attempt has no end; its time is not known and not guessed.
        seconds = sum(attempt.get('seconds', 0.0) for attempt in attempts)
        record = {
            'hash': self.hashes[step.name],
            'command': launched(step.command, step.processes),
            'env': attempts[-1]['env'],
            'inputs': {str(path): fingerprint(path) for path in step.inputs},
            'result': {'path': str(step.result), 'fingerprint': result},
            'started': attempts[0]['started'],
            'ended': attempts[-1]['ended'],
            'seconds': seconds,
            'attempts': len(attempts),
        }
        write_json(step.record_file, record)
        return self._set(step, 'done', format_seconds(seconds), seconds)

    def _set(self, step: Step, state: str, detail: str, seconds: float = 0.0) -> None:
        self.state[step.name] = state
        self.display.set(step, state, detail, seconds)


def _problem(step: Step, status: int) -> str:
    """What is wrong with a step that ended; empty when nothing is."""
    if status < 0:
        hint = ' (out of memory?)' if -status == signal.SIGKILL else ''
        return f'ended by {signal.Signals(-status).name}{hint}'
    if status:
        lines = last_lines(step.log)
        last = lines[-1] if lines and not lines[-1].startswith('# ') else 'no output'
        full = shutil.disk_usage(step.work_dir).free < _LEAST_BYTES
        hint = f' (the disk of {step.work_dir} is full)' if full else ''
        return f'exit status {status}: {last[:200]}{hint}'
    if not step.result.exists():
        return f'it ended without writing {step.result}'
    measured = read_json(step.result) if 'metrics' in step.meta else {}
    for metric in step.meta.get('metrics', []):
        if metric not in measured:
            known = ', '.join(sorted(measured)) or 'nothing'
            return f'{step.result} has no metric {metric!r}; it has {known}'
        value = measured[metric]
        if value is None or not math.isfinite(value):
            return f'{metric} in {step.result} is not finite: the training diverged'
    return ''


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')


@contextlib.contextmanager
def only_study_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a study's folder; the system frees that of a dead process.

    Raises:
        StudyError: Another study runs in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / '.lock'), folder / '.owner'
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = owner.read_text() if owner.is_file() else 'it has just started'
        raise StudyError(
            f'{folder}: another study runs in this folder ({who}). '
            'Wait for it, end it, or choose another folder with --work-dir.'
        ) from None
    try:
        write_text(owner, f'process {os.getpid()} on {socket.gethostname()}')
        yield
    finally:
        lock.release()

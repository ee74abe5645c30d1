"""Run the steps of a study: each when it may, what is done not again."""

import contextlib
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from mmgcp.utils.files import write_text

from .backend import Backend, Job
from .display import Display
from .progress import (
    Clock,
    Estimator,
    format_seconds,
    read_progress,
    tail,
    time_left,
)
from .step import (
    ATTEMPTS,
    Step,
    StudyError,
    digest,
    fingerprint,
    hash_steps,
    order,
    read_json,
    write_json,
)


class Scheduler:
    """Runs a graph of steps.

    Args:
        steps: The graph.
        folder: Folder of the study; every step works below it.
        backend: Where the steps run.
        display: Where their state is shown.
        poll: Seconds between two looks at the running steps.
    """

    def __init__(
        self,
        steps: list[Step],
        folder: Path,
        backend: Backend,
        display: Display,
        poll: float = 0.25,
    ) -> None:
        self.steps = order(steps)
        self.folder = folder.resolve()
        self.hashes = hash_steps(steps)
        self.backend = backend
        self.display = display
        self.poll = poll
        self.state = {step.name: 'waiting' for step in steps}
        self.running: dict[str, tuple[Step, Any, Clock]] = {}
        self.estimator = Estimator()

    def run(self) -> dict[str, str]:
        """Run everything that is not done.

        Returns:
            The final state of each step: ``done``, ``failed`` or ``skipped``.

        Raises:
            KeyboardInterrupt: SIGINT or SIGTERM arrived; the steps were ended.
        """
        with _interruptible(), self.display:
            try:
                while True:
                    self._settle()
                    self._start_ready()
                    if not self.running:
                        break
                    self._look()
                    self.display.refresh(self._left())
                    time.sleep(self.poll)
            except BaseException:
                self._stop_all()
                raise
        return dict(self.state)

    def _settle(self) -> None:
        """Recognise steps that are done already or can no longer run."""
        for step in self.steps:
            if self.state[step.name] != 'waiting':
                continue
            before = [self.state[name] for name in step.deps]
            if any(state in ('failed', 'skipped') for state in before):
                cause = next(n for n in step.deps if self.state[n] != 'done')
                self._set(step, 'skipped', f'needs {cause}')
            elif all(state == 'done' for state in before) and step.is_done(
                self.hashes[step.name]
            ):
                record = step.record() or {}
                self.estimator.learn(step, record.get('seconds', 0.0))
                self._set(step, 'done', 'before')

    def _start_ready(self) -> None:
        ready = [
            step
            for step in self.steps
            if self.state[step.name] == 'waiting'
            and all(self.state[name] == 'done' for name in step.deps)
        ]
        alone = self.backend.shared_machine
        if alone and any(step.exclusive for step, _, _ in self.running.values()):
            return
        for step in [s for s in ready if not (alone and s.exclusive)]:
            if self.backend.has_room(step, len(self.running)):
                self._start(step)
        if ready and not self.running:
            if not self.backend.has_room(ready[0], 0):
                raise StudyError(
                    f'{ready[0].name} starts {ready[0].processes} processes and there '
                    'are fewer accelerators: use a smaller --nproc'
                )
            self._start(ready[0])

    def _start(self, step: Step) -> None:
        attempts = self._history(step)
        job: Job | None = None
        if attempts['attempts']:
            job = self.backend.attach(step, attempts['attempts'][-1]['job'])
        if job is None:
            command = self._prepare(step)
            attempt = {
                'started': _now(),
                'time': time.time(),
                'job': '',
                'command': command,
                'env': self.backend.environment(step),
            }
            attempts['attempts'].append(attempt)
            # Before it starts: killed right after, it can be resumed already.
            write_json(step.work_dir / ATTEMPTS, attempts)
            job = self.backend.start(step, command)
            attempt['job'] = job.name
            write_json(step.work_dir / ATTEMPTS, attempts)
        self.running[step.name] = (step, job, Clock())
        self._set(step, 'running', job.name)

    def _history(self, step: Step) -> dict:
        """Earlier attempts at the step, forgotten with all their files when the
        step or what it reads is not the same any more."""
        if self.folder not in step.work_dir.resolve().parents:
            raise StudyError(f'{step.name}: {step.work_dir} is not below {self.folder}')
        inputs = {str(path): fingerprint(path)['sha256'] for path in step.inputs}
        key = digest([self.hashes[step.name], inputs])
        attempts = read_json(step.work_dir / ATTEMPTS)
        if attempts and attempts['key'] == key:
            return attempts
        if step.work_dir.exists():
            shutil.rmtree(step.work_dir)
        return {'key': key, 'attempts': []}

    def _prepare(self, step: Step) -> list[str]:
        step.work_dir.mkdir(parents=True, exist_ok=True)
        for path, text in step.files.items():
            write_text(path, text)
        step.record_file.unlink(missing_ok=True)
        # Written as `python` so that it can be typed, and hashed, everywhere.
        command = [sys.executable if w == 'python' else w for w in step.command]
        if step.resume_mark is not None and step.resume_mark.exists():
            command += step.resume
        elif step.work_dir in step.result.parents and step.result.is_file():
            step.result.unlink()
        with open(step.log, 'a', encoding='utf-8') as log:
            log.write(f'# {_now()} $ {shlex.join(command)}\n')
        return command

    def _look(self) -> None:
        for step, job, clock in list(self.running.values()):
            status = job.poll()
            if status is not None:
                self._finish(step, job, clock, status)
                continue
            fraction, line = read_progress(step)
            clock.update(fraction)
            self.display.update(step.name, fraction, line)

    def _finish(self, step: Step, job: Job, clock: Clock, status: int) -> None:
        del self.running[step.name]
        self.backend.release(job)
        attempts = read_json(step.work_dir / ATTEMPTS)
        last = attempts['attempts'][-1]
        last.update(ended=_now(), seconds=time.time() - last['time'], status=status)
        write_json(step.work_dir / ATTEMPTS, attempts)
        if status != 0:
            self._set(step, 'failed', f'{_why(status, step)}; log: {step.log}')
        elif not step.result.exists():
            reason = f'it ended without writing {step.result}'
            self._set(step, 'failed', f'{reason}; log: {step.log}')
        else:
            record = self._record(step, attempts['attempts'])
            write_json(step.record_file, record)
            self.estimator.learn(step, clock.elapsed())
            self._set(step, 'done', format_seconds(record['seconds']))

    def _record(self, step: Step, attempts: list[dict]) -> dict:
        result = fingerprint(step.result) if step.result.is_file() else None
        return {
            'name': step.name,
            'kind': step.kind,
            'hash': self.hashes[step.name],
            'command': step.command,
            'env': attempts[-1]['env'],
            'inputs': {str(path): fingerprint(path) for path in step.inputs},
            'result': {'path': str(step.result), 'fingerprint': result},
            'log': str(step.log),
            'started': attempts[0]['started'],
            'ended': attempts[-1]['ended'],
            # A killed attempt has no end; its time is not known and not guessed.
            'seconds': sum(attempt.get('seconds', 0.0) for attempt in attempts),
            'attempts': len(attempts),
            'meta': step.meta,
        }

    def _left(self) -> float:
        expect = {step.name: self.estimator.expect(step) for step in self.steps}
        running = {
            name: clock.remaining(expect[name])
            for name, (_, _, clock) in self.running.items()
        }
        waiting = [s for s in self.steps if self.state[s.name] == 'waiting']
        return time_left(waiting, running, self.backend.jobs, expect)

    def _set(self, step: Step, state: str, detail: str) -> None:
        self.state[step.name] = state
        self.display.set(step.name, state, detail)

    def _stop_all(self) -> None:
        jobs = [job for _, job, _ in self.running.values()]
        for job in jobs:
            job.interrupt()
        for job in jobs:
            job.stop()
        self.running.clear()


def _why(status: int, step: Step) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = ' (out of memory?)' if -status == signal.SIGKILL else ''
        return f'ended by {name}{hint}'
    lines = [line.strip() for line in tail(step.log).splitlines() if line.strip()]
    last = lines[-1] if lines and not lines[-1].startswith('# ') else 'no output'
    return f'exit status {status}: {last[:200]}'


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the study like Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

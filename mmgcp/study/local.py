"""Run a step as a process of this machine."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .step import Step


def _libc_prctl() -> Callable[..., int] | None:
    if not sys.platform.startswith('linux'):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), 'prctl', None)


_PRCTL = _libc_prctl()
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    # SIGTERM, not SIGKILL: torchrun then still ends its workers.
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class LocalJob:
    """A running process in a process group of its own."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        env: dict[str, str],
        cwd: Path,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        with open(log, 'ab') as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **env},
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    @property
    def name(self) -> str:
        return f'process {self.process.pid}'

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""
        return self.process.poll()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def interrupt(self) -> None:
        """Ask the process and its children to end."""
        self._signal(signal.SIGTERM)

    def stop(self, grace: float = 10.0) -> None:
        """End the process and its children: SIGTERM, later SIGKILL."""
        self.interrupt()
        deadline = time.monotonic() + grace
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)
        self.process.wait()


class LocalBackend:
    """Starts steps on this machine and divides its processors between them.

    The share of a step depends on ``jobs`` alone, never on what happens to run
    beside it: the number of threads changes how sums round, and a training that
    rounds otherwise is another run of the same seed.

    Args:
        jobs: Steps at a time.
        cwd: Folder in which the commands run.
        cpus: Processors to divide; those of this process by default.
        devices: Accelerators to hand out, one per process; empty on a CPU.
        lock: Descriptor of the study's lock, inherited by the steps.
    """

    #: Steps that measure time have to wait until they are alone.
    shared_machine = True

    def __init__(
        self,
        jobs: int,
        cwd: Path,
        cpus: int | None = None,
        devices: list[str] | None = None,
        lock: int | None = None,
    ) -> None:
        self.jobs = jobs
        self.cwd = cwd
        self.cpus = cpus or usable_cpus()
        self.free = list(devices or [])
        self.has_devices = bool(self.free)
        self.taken: dict[int, list[str]] = {}
        self.lock = lock

    def threads(self, step: Step) -> int:
        """CPU threads for each process of a step."""
        share = self.cpus if step.exclusive else self.cpus // self.jobs
        return max(1, share // step.processes)

    def has_room(self, step: Step, running: int) -> bool:
        """Whether a job and, where there are any, enough accelerators are free."""
        if running >= self.jobs:
            return False
        return not self.has_devices or len(self.free) >= step.processes

    def environment(self, step: Step) -> dict[str, str]:
        """Variables of a step. Passive waiting stops idle threads of one step
        from taking the processor of another; a step that runs alone is faster
        without."""
        threads = str(self.threads(step))
        alone = step.exclusive or self.jobs == 1
        return {
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
            **({} if alone else {'OMP_WAIT_POLICY': 'PASSIVE'}),
            'PYTHONUNBUFFERED': '1',
            **step.env,
        }

    def start(self, step: Step, command: list[str]) -> LocalJob:
        env = self.environment(step)
        share = self.free[: step.processes]
        if share:
            env['CUDA_VISIBLE_DEVICES'] = ','.join(share)
        fds = () if self.lock is None else (self.lock,)
        job = LocalJob(command, step.log, env, self.cwd, fds)
        self.free = self.free[len(share) :]
        self.taken[id(job)] = share
        return job

    def attach(self, step: Step, name: str) -> None:
        """A process does not survive the study that started it."""
        return None

    def release(self, job: LocalJob) -> None:
        """Give the accelerators of a finished step back."""
        self.free.extend(self.taken.pop(id(job), []))


def visible_devices() -> list[str]:
    """Accelerators this process may use, as CUDA names them."""
    import torch

    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    count = torch.cuda.device_count()
    if chosen:
        return chosen.split(',')[:count]
    return [str(index) for index in range(count)]


def usable_cpus() -> int:
    """Processors this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

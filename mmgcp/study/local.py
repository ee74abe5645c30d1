"""Run a step as a process of this machine."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

from .step import Step, StudyError, launched

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    # SIGTERM, not SIGKILL: torchrun then still ends its workers.
    if hasattr(_LIBC, 'prctl'):  # Linux
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class LocalJob:
    """A running process in a process group of its own.

    The process and its children hold a lock on its log, so that a study started again
    after a SIGKILL sees whether any of them is left.
    """

    problem = ''
    requeues = 0

    def __init__(
        self, command: list[str], log: Path, env: dict[str, str], cwd: Path
    ) -> None:
        with open(log, 'ab') as output:
            # Some file systems have no locks; the step runs all the same.
            with contextlib.suppress(OSError):
                fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **env},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self.name = f'process {self.process.pid}'

    def poll(self) -> int | None:
        return self.process.poll()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def interrupt(self) -> None:
        self._signal(signal.SIGTERM)

    def stop(self, grace: float = 10.0) -> None:
        """End the process and its children: SIGTERM, later SIGKILL."""
        self.interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
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
    """

    poll_seconds = 0.25
    #: Seconds to wait for the processes of a study that was killed.
    patience = 30.0

    def __init__(
        self,
        jobs: int,
        cwd: Path,
        cpus: int | None = None,
        devices: list[str] | None = None,
    ) -> None:
        self.jobs = jobs
        self.cwd = cwd
        self.cpus = cpus or usable_cpus()
        self.devices = list(devices or [])
        self.taken: dict[str, list[str]] = {}

    def _free(self) -> list[str]:
        taken = [device for share in self.taken.values() for device in share]
        return [device for device in self.devices if device not in taken]

    def has_room(self, step: Step, running: list[Step]) -> bool:
        """Whether a job and, where there are any, enough accelerators are free."""
        if running and (step.exclusive or any(other.exclusive for other in running)):
            return False
        if self.devices and step.processes > len(self.devices):
            raise StudyError(
                f'{step.name} starts {step.processes} processes and there '
                f'are {len(self.devices)} accelerators: use a smaller --nproc'
            )
        enough = not self.devices or step.processes <= len(self._free())
        return enough and len(running) < self.jobs

    def environment(self, step: Step) -> dict[str, str]:
        """Threads of a step, and how they wait.

        Passive waiting stops idle threads of one step from taking the processor of
        another; a step that runs alone is faster without.
        """
        alone = step.exclusive or self.jobs == 1
        share = self.cpus if alone else self.cpus // self.jobs
        threads = str(max(1, share // step.processes))
        return {
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
            **({} if alone else {'OMP_WAIT_POLICY': 'PASSIVE'}),
            'PYTHONUNBUFFERED': '1',
        }

    def start(self, step: Step, command: list[str]) -> LocalJob:
        env = self.environment(step)
        self.taken[step.name] = self._free()[: step.processes]
        if self.devices:
            env['CUDA_VISIBLE_DEVICES'] = ','.join(self.taken[step.name])
        return LocalJob(launched(command, step.processes), step.log, env, self.cwd)

    def attach(self, step: Step, name: str) -> None:
        """Wait until nothing is left of a study that was killed."""
        deadline = time.monotonic() + self.patience
        with open(step.log, 'ab') as log, contextlib.suppress(OSError):
            while True:
                try:
                    return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StudyError(
                            f'{step.name}: {name} of a study that was killed still '
                            f'writes to {step.log}. End it and start again'
                        ) from None
                    time.sleep(0.1)

    def release(self, step: Step) -> None:
        self.taken.pop(step.name, None)


def visible_devices() -> list[str]:
    """Accelerators this process may use, as CUDA names them."""
    import torch

    count = torch.cuda.device_count()
    chosen = os.environ.get('CUDA_VISIBLE_DEVICES')
    return chosen.split(',')[:count] if chosen else list(map(str, range(count)))


def usable_cpus() -> int:
    """Processors this process may use."""
    if hasattr(os, 'sched_getaffinity'):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

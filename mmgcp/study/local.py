"""Run a step as a process of this machine."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from mmgcp.utils.device import usable_cpus

from .step import Step, StudyError, launched, thread_variables

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    # SIGTERM, not SIGKILL: torchrun then still ends its workers.
    if hasattr(_LIBC, 'prctl'):  # Linux
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class LocalJob:
    """A running process in a process group of its own.

    It and its children hold a lock on the log until the last of them has ended.
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
        """Exit status, or None while it runs."""
        return self.process.poll()

    def interrupt(self, number: int = signal.SIGTERM) -> None:
        """Ask the process and its children to end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End the process and its children: SIGTERM, later SIGKILL."""
        self.interrupt()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        self.interrupt(signal.SIGKILL)
        self.process.wait()


class LocalBackend:
    """Starts steps on this machine and divides its processors between them.

    The share of a step depends on ``jobs`` alone, never on what happens to run
    beside it: the number of threads changes how sums round, and a training that
    rounds otherwise is another run of the same seed.

    Args:
        jobs: Steps at a time.
        cwd: Folder in which the commands run.
        cpus: Processors to divide; all of them by default.
        devices: Accelerators, one per process; none on a CPU.
    """

    poll_seconds = 0.25
    #: Seconds to wait for the processes of a study that was killed.
    patience = 30.0

    def __init__(
        self, jobs: int, cwd: Path, cpus: int = 0, devices: Sequence[str] = ()
    ) -> None:
        self.jobs = jobs
        self.cwd = cwd
        self.cpus = cpus or usable_cpus()
        self.devices = devices
        #: Who uses the accelerators.
        self.users: dict[str, LocalJob] = {}

    def _free(self) -> list[str]:
        """Accelerators without a running job."""
        used = [name for name, job in self.users.items() if job.poll() is None]
        return [device for device in self.devices if device not in used]

    def check(self, steps: list[Step]) -> None:
        """Refuse steps that need more accelerators than there are."""
        for step in steps:
            if self.devices and step.processes > len(self.devices):
                raise StudyError(
                    f'{step.name} starts {step.processes} processes and there '
                    f'are {len(self.devices)} accelerators: use a smaller --nproc'
                )

    def has_room(self, step: Step, running: list[Step]) -> bool:
        """Whether a job and, where there are any, enough accelerators are free."""
        if running and (step.exclusive or any(other.exclusive for other in running)):
            return False
        enough = not self.devices or step.processes <= len(self._free())
        return enough and len(running) < self.jobs

    def environment(self, step: Step) -> dict[str, str]:
        """Variables of a step. Passive waiting keeps idle threads of one step off the
        processor of another; a step that runs alone is faster without."""
        alone = step.exclusive or self.jobs == 1
        share = self.cpus if alone else self.cpus // self.jobs
        variables = thread_variables(share // step.processes)
        return variables if alone else {**variables, 'OMP_WAIT_POLICY': 'PASSIVE'}

    def start(self, step: Step, command: list[str]) -> LocalJob:
        env, share = self.environment(step), self._free()[: step.processes]
        if self.devices:
            env['CUDA_VISIBLE_DEVICES'] = ','.join(share)
        command = launched(command, step.processes)
        job = LocalJob(command, step.log, env, self.cwd)
        self.users |= dict.fromkeys(share, job)
        return job

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

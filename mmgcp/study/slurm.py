"""Run steps through submitit: a Slurm cluster, or the same path on one machine."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from .step import Step, StudyError, launched


def run_logged(command: list[str], log: str, env: dict[str, str], cwd: str) -> int:
    """Run a command on the machine that the scheduler chose; returns its status."""
    with open(log, 'ab') as output:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **env},
            check=False,
        ).returncode


def in_queue(job_id: str) -> bool | None:
    """Whether Slurm still holds a job; None when that cannot be found out.

    ``squeue`` needs no accounting data base, which small clusters do not have.
    """
    command = ['squeue', '--noheader', '--jobs', job_id, '--format', '%T']
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    if found.returncode:
        return False if 'Invalid job id' in found.stderr else None
    return bool(set(found.stdout.split()) & _ALIVE)


class SlurmJob:
    """A submitted step.

    Args:
        job: The job of submitit.
        on_cluster: Whether ``squeue`` knows it.
    """

    problem = ''
    requeues = 0

    def __init__(self, job: Any, on_cluster: bool = True) -> None:
        self.job = job
        self.name = f'job {job.job_id}'
        self.on_cluster = on_cluster
        self.looked = time.monotonic()
        self.gone = 0

    def poll(self) -> int | None:
        """Exit status, or None while the job waits or runs."""
        if not self.job.done():
            return 1 if self._vanished() else None
        if self.job.exception() is not None:
            return 1
        return int(self.job.result())

    def _vanished(self) -> bool:
        """Ended without a result (node failure, time limit, ``scancel``)."""
        if not self.on_cluster or time.monotonic() - self.looked < _LOOK_SECONDS:
            return False
        self.looked = time.monotonic()
        # The result of a job that just ended may still be on its way.
        self.gone = self.gone + 1 if in_queue(self.job.job_id) is False else 0
        return self.gone > _LOOKS

    def interrupt(self) -> None:
        self.job.cancel(check=False)

    def stop(self) -> None:
        """Nothing is left to do: the cluster ends what was cancelled."""


class SlurmBackend:
    """Submits steps.

    Args:
        folder: Where submitit keeps what it hands to the jobs.
        cwd: Folder in which the commands run, on a file system that all nodes see.
        options: ``key=value`` of ``submitit.AutoExecutor.update_parameters``, e.g.
            ``partition=gpu gpus_per_node=8 timeout_min=1440 cpus_per_task=16``.
            ``cluster=local`` takes the same path without a cluster.
        jobs: Steps submitted at a time.

    Raises:
        StudyError: submitit is missing or does not know an option.
    """

    poll_seconds = 1.0

    def __init__(
        self, folder: Path, cwd: Path, options: dict[str, str], jobs: int
    ) -> None:
        try:
            import submitit
        except ModuleNotFoundError:
            raise StudyError(
                "--slurm needs submitit: pip install 'mmgcp[study]'"
            ) from None
        options = dict(options)
        self.folder = folder
        self.cwd = cwd
        self.jobs = jobs
        self.cluster = options.pop('cluster', 'slurm')
        values = {
            (f'slurm_{key}' if key in _SLURM_NAMES else key): _number(value)
            for key, value in options.items()
        }
        self.cpus = int(values.setdefault('cpus_per_task', 1))
        try:
            self.executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
            self.executor.update_parameters(**values)
        except (RuntimeError, TypeError, NameError) as error:
            raise StudyError(f'--slurm {options}: {error}') from error

    def has_room(self, step: Step, running: list[Step]) -> bool:
        return len(running) < self.jobs

    def environment(self, step: Step) -> dict[str, str]:
        threads = str(max(1, self.cpus // step.processes))
        return {
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
            'PYTHONUNBUFFERED': '1',
        }

    def start(self, step: Step, command: list[str]) -> SlurmJob:
        self.executor.update_parameters(name=step.name.replace('/', '_'))
        job = self.executor.submit(
            run_logged,
            launched(command, step.processes),
            str(step.log),
            self.environment(step),
            str(self.cwd),
        )
        return SlurmJob(job, self.cluster == 'slurm')

    def attach(self, step: Step, name: str) -> SlurmJob | None:
        """Find the job of a study that was killed, if the cluster still has it."""
        import submitit

        if self.cluster != 'slurm' or not name.startswith('job '):
            return None
        job: Any = submitit.SlurmJob(self.folder, name[4:])
        if in_queue(job.job_id):
            return SlurmJob(job)
        succeeded = job.paths.result_pickle.exists() and job.exception() is None
        return SlurmJob(job) if succeeded and job.result() == 0 else None

    def release(self, step: Step) -> None:
        """Nothing is shared between jobs of a cluster."""


_SLURM_NAMES = {
    'account',
    'array_parallelism',
    'comment',
    'constraint',
    'exclude',
    'exclusive',
    'gres',
    'mail_user',
    'mem_per_cpu',
    'nodelist',
    'partition',
    'qos',
    'signal_delay_s',
    'time',
}
#: Looks at the queue that must agree before a job counts as lost, and their gap.
_LOOKS = 2
_LOOK_SECONDS = 15.0
_ALIVE = {'RUNNING', 'PENDING', 'CONFIGURING', 'COMPLETING', 'SUSPENDED', 'REQUEUED'}


def _number(text: str) -> str | int:
    return int(text) if text.lstrip('-').isdigit() else text

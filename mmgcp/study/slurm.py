"""Run steps through submitit: a Slurm cluster, or the same path on one machine."""

import os
import subprocess
from pathlib import Path
from typing import Any

from .step import Step, StudyError


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


class SlurmJob:
    """A submitted step."""

    def __init__(self, job: Any) -> None:
        self.job = job

    @property
    def name(self) -> str:
        return f'job {self.job.job_id}'

    def poll(self) -> int | None:
        """Exit status, or None while the job waits or runs."""
        if not self.job.done():
            return None
        if self.job.exception() is not None:
            return 1
        return int(self.job.result())

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

    shared_machine = False

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

    def has_room(self, step: Step, running: int) -> bool:
        return running < self.jobs

    def environment(self, step: Step) -> dict[str, str]:
        threads = str(max(1, self.cpus // step.processes))
        return {
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
            'OMP_WAIT_POLICY': 'PASSIVE',
            'PYTHONUNBUFFERED': '1',
            **step.env,
        }

    def start(self, step: Step, command: list[str]) -> SlurmJob:
        self.executor.update_parameters(name=step.name.replace('/', '_'))
        job = self.executor.submit(
            run_logged,
            command,
            str(step.log),
            self.environment(step),
            str(self.cwd),
        )
        return SlurmJob(job)

    def attach(self, step: Step, name: str) -> SlurmJob | None:
        """Find the job of a study that was killed, if the cluster still has it."""
        import submitit

        if self.cluster != 'slurm' or not name.startswith('job '):
            return None
        job: submitit.SlurmJob = submitit.SlurmJob(self.folder, name[4:])
        if job.state in _ALIVE:
            return SlurmJob(job)
        finished = job.state == 'COMPLETED' and job.exception() is None
        return SlurmJob(job) if finished and job.result() == 0 else None

    def release(self, job: SlurmJob) -> None:
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
_ALIVE = {'RUNNING', 'PENDING', 'CONFIGURING', 'COMPLETING', 'SUSPENDED', 'REQUEUED'}


def _number(text: str) -> str | int:
    return int(text) if text.lstrip('-').isdigit() else text

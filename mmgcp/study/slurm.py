"""Run steps through submitit: a Slurm cluster, or the same path on one machine."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from mmgcp.utils.files import read_json, write_json

from .resources import Resources
from .step import Step, StudyError, launched

#: Seconds that Slurm may take to kill a job it has asked to end.
_KILL_WAIT = 120.0
_TIMEOUTS = 100


class Command:
    """A step's command on the nodes that Slurm chose.

    Slurm warns before a job reaches its time limit or makes room for another one.
    submitit then calls :meth:`checkpoint` and puts the job back into the queue under the
    same number, where a training goes on from its last checkpoint. What became of the
    job is in ``job.json`` in the step's folder: its number, the checkpoint at each
    start, the exit status.
    """

    def __init__(
        self, step: Step, command: list[str], env: dict[str, str], cwd: Path
    ) -> None:
        self.step = replace(step, content=None, files={}, meta={})
        self.command = command
        self.env = env
        self.cwd = cwd
        self.process: subprocess.Popen | None = None
        self.ending = False

    def __call__(self) -> int:
        import submitit

        os.chdir(self.cwd)
        here = submitit.JobEnvironment()
        first = here.global_rank == 0
        record = read_job(self.step, here.job_id)
        if record['status'] is not None:  # put back into the queue after its end
            return record['status']
        again = int(os.environ.get('SLURM_RESTART_COUNT', '0'))
        starts = [*record['starts'][:again], self.step.checkpoint()]
        record['starts'] = starts
        if first:
            write_json(job_file(self.step), record)
        command = list(self.command)
        if starts[-1] is not None and '--resume' not in command:
            command.append('--resume')
        if len(here.hostnames) > 1:
            layout = _layout(here, self.step.processes, again)
            command = launched(command, self.step.processes, *layout)
        else:
            command = launched(command, self.step.processes)
        with open(self.step.log if first else os.devnull, 'a', encoding='utf-8') as log:
            try:
                status = self._run(command, log, again, starts[-3:])
            except Exception as error:  # submitit does not start the job again
                print(error, file=log)
                status = 1
        if first:
            write_json(job_file(self.step), {**record, 'status': status})
        return status

    def _run(self, command: list[str], log: Any, again: int, starts: list) -> int:
        if again:
            print(f'# start {again + 1} $ {shlex.join(command)}', file=log, flush=True)
        if len(starts) == 3 and len(set(starts)) == 1:
            print(
                'no checkpoint was written in two attempts: raise timeout_min, or save '
                'more often (default_hooks.checkpoint.interval)',
                file=log,
            )
            return 1
        signal.signal(signal.SIGTERM, self._end)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.env},
        )
        while self.process.poll() is None:
            time.sleep(0.2)
        if self.ending:
            # Slurm ends or requeues this job; that is no exit status of the step.
            time.sleep(_KILL_WAIT)
        return self.process.returncode

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ending = True

    def checkpoint(self) -> Any:
        """End the command and say what is to run when the job starts again."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=20)
            self.process.kill()
        again = Command(self.step, self.command, self.env, self.cwd)
        return DelayedSubmission(again)


def _layout(here: Any, processes: int, again: int) -> list[str]:
    """Options of torchrun on one of several nodes; the first is the meeting point."""
    host = os.environ.get('MASTER_ADDR', here.hostnames[0])
    port = 20000 + int(here.raw_job_id) % 10000
    return [
        f'--nnodes={len(here.hostnames)}',
        f'--nproc_per_node={processes // len(here.hostnames)}',
        '--rdzv-backend=c10d',
        f'--rdzv-endpoint={host}:{port}',
        f'--rdzv-id={here.raw_job_id}.{again}',
        f'--rdzv-conf=is_host={here.global_rank == 0}',
    ]


def job_file(step: Step) -> Path:
    return step.work_dir / 'job.json'


def read_job(step: Step, number: str) -> dict[str, Any]:
    """What a job wrote down; as for a job that has not started when it is another's."""
    file = job_file(step)
    found = read_json(file) if file.is_file() else {}
    if found.get('job') == number:
        return found
    return {'job': number, 'starts': [], 'status': None}


class SlurmJob:
    """A submitted step."""

    def __init__(self, backend: 'SlurmBackend', step: Step, job: Any) -> None:
        self.backend = backend
        self.step = step
        self.job = job
        self.name = f'job {job.job_id}'
        self.problem = ''
        self.requeues = 0
        self.absent_since: int | None = None

    def poll(self) -> int | None:
        """Exit status, or None while the job waits or runs."""
        record = read_job(self.step, self.job.job_id)
        self.requeues = max(0, len(record['starts']) - 1)
        if record['status'] is None and self._gone():
            # What it wrote last may have been on its way.
            record = read_job(self.step, self.job.job_id)
            if record['status'] is None:
                self.problem = self._why()
                return 1
        return record['status']

    def _gone(self) -> bool:
        """Whether two looks in a row did not find the job in the queue."""
        if self.backend.cluster != 'slurm':
            return self.job.done()
        queue = self.backend.queue()
        if queue is None or self.job.job_id in queue:
            self.absent_since = None
            return False
        if self.absent_since is None:
            self.absent_since = self.backend.looks
        return self.backend.looks > self.absent_since

    def _why(self) -> str:
        command = ['scontrol', '--oneliner', 'show', 'job', self.job.job_id]
        state = None
        if self.backend.cluster == 'slurm':
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            state = re.search(r'JobState=(\S+)', found.stdout)
        text = f'{self.name} ended without a result'
        text += f' ({state.group(1)})' if state else ''
        paths = self.job.paths
        if not (paths.stdout.exists() or paths.stderr.exists()):
            text += f' and wrote nothing: do the nodes see {self.backend.folder}?'
        return text

    def interrupt(self) -> None:
        self.job.cancel(check=False)

    def stop(self) -> None:
        """Cancel the job and wait until the cluster has ended it."""
        self.interrupt()
        deadline = time.monotonic() + _KILL_WAIT
        while time.monotonic() < deadline and self.backend.cluster == 'slurm':
            if self.job.job_id not in (self.backend.queue(fresh=True) or ()):
                return
            time.sleep(1)


class SlurmBackend:
    """Submits steps.

    Args:
        folder: Where submitit keeps what it hands to the jobs.
        cwd: Folder in which the commands run, on a file system that all nodes see.
        resources: What the steps ask for; ``cluster=local`` takes the same path
            without a cluster.
        jobs: Steps submitted at a time.

    Raises:
        StudyError: submitit is missing or does not know an option.
    """

    poll_seconds = 2.0
    #: Between two looks at the queue.
    look_seconds = 15.0

    def __init__(
        self, folder: Path, cwd: Path, resources: Resources, jobs: int
    ) -> None:
        try:
            import submitit
        except ModuleNotFoundError:
            raise StudyError(
                "--slurm needs submitit: pip install 'mmgcp[study]'"
            ) from None
        self.folder = folder.absolute()
        self.cwd = cwd
        self.jobs = jobs
        self.resources = resources
        self.cluster = resources.common.pop('cluster', 'slurm')
        self.looks = 0
        self._looked = 0.0
        self._queue: set[str] | None = None
        self._general = set(submitit.AutoExecutor._valid_parameters())
        self._general -= {'name', 'tasks_per_node'}
        special = set(submitit.SlurmExecutor._valid_parameters())
        special -= set(submitit.SlurmExecutor._equivalence_dict().values())
        resources.check_names({*self._general, *special, 'max_num_timeout'})

    def has_room(self, step: Step, running: list[Step]) -> bool:
        return len(running) < self.jobs

    def environment(self, step: Step) -> dict[str, str]:
        found = self.resources.of(step)
        cpus = found['cpus_per_task'] * found['nodes']
        threads = str(max(1, cpus // step.processes))
        return {
            'OMP_NUM_THREADS': threads,
            'MKL_NUM_THREADS': threads,
            'PYTHONUNBUFFERED': '1',
        }

    def start(self, step: Step, command: list[str]) -> SlurmJob:
        import submitit
        from submitit.core.utils import FailedSubmissionError, UncompletedJobError

        options = self.resources.of(step)
        limit = options.pop('max_num_timeout', _TIMEOUTS)
        if self.cluster != 'slurm':
            del options['nodes']
        options = {
            key if key in self._general else f'slurm_{key}': value
            for key, value in options.items()
        }
        work = Command(step, command, self.environment(step), self.cwd)
        try:
            executor = submitit.AutoExecutor(
                self.folder, cluster=self.cluster, slurm_max_num_timeout=limit
            )
            executor.update_parameters(name=step.name.replace('/', '_'), **options)
            job = executor.submit(work)
        except (FailedSubmissionError, UncompletedJobError) as error:
            raise StudyError(f'Slurm refused it: {error}') from error
        except (RuntimeError, AssertionError) as error:
            raise StudyError(f'--slurm: {error}') from error
        return SlurmJob(self, step, job)

    def attach(self, step: Step, name: str) -> SlurmJob | None:
        """Find the job of a study that was killed, if the cluster still has it."""
        import submitit

        number = name.removeprefix('job ')
        if self.cluster != 'slurm' or not number.isdigit():
            return None
        queue = self.queue(fresh=True)
        alive = queue is None or number in queue
        if alive or read_job(step, number)['status'] == 0:
            return SlurmJob(self, step, submitit.SlurmJob(self.folder, number))
        return None

    def release(self, step: Step) -> None:
        """Nothing is shared between jobs of a cluster."""

    def queue(self, fresh: bool = False) -> set[str] | None:
        """Numbers of the jobs that Slurm holds, None when it does not answer.

        ``squeue`` needs no accounting data base, which small clusters do not have.
        """
        if fresh or time.monotonic() - self._looked > self.look_seconds:
            command = ['squeue', '--noheader', '--me', '--format', '%i']
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            self._queue = None if found.returncode else set(found.stdout.split())
            self._looked = time.monotonic()
            self.looks += 1
        return self._queue

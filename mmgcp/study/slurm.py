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
from .step import Step, StudyError, launched, thread_variables

#: Seconds that Slurm may take to kill a job it has asked to end.
_KILL_WAIT = 120.0
#: Seconds to wait for a node that looks at the folders, and its answer: not seen.
_LOOK_WAIT, _UNSEEN = 30, 3


class Command:
    """A step's command on the nodes that Slurm chose.

    Slurm warns before a job reaches its time limit or makes room for another one.
    submitit then calls :meth:`checkpoint` and puts the job back into the queue, where a
    training goes on from its last checkpoint. ``job.json`` in the step's folder holds
    the number of the job, the checkpoint at each start and the exit status.
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
        record = read_job(self.step, here.job_id)
        if record['status'] is not None:  # put back into the queue after its end
            return record['status']
        again = int(os.environ.get('SLURM_RESTART_COUNT', '0'))
        record['starts'] = [*record['starts'][:again], self.step.checkpoint()]
        if here.global_rank == 0:
            write_json(self.step.job_file, record)
        try:
            status = self._run(here, record['starts'], again)
        except Exception as error:  # raised by submitit: it does not requeue the job
            with open(self.step.log, 'a', encoding='utf-8') as log:
                print(error, file=log)
            status = 1
        if here.global_rank == 0:
            write_json(self.step.job_file, {**record, 'status': status})
        return status

    def _run(self, here: Any, starts: list[str | None], again: int) -> int:
        command = list(self.command)
        if starts[-1] is not None and '--resume' not in command:
            command.append('--resume')
        layout = _layout(here, self.step.processes, again)
        command = launched(command, self.step.processes, *layout)
        file = self.step.log if here.global_rank == 0 else os.devnull
        with open(file, 'a', encoding='utf-8') as log:
            if again:
                print(f'# start {again + 1} $', *command, file=log, flush=True)
            if starts[-3:] == 3 * starts[-1:]:
                print(
                    'no checkpoint was written in two attempts: raise timeout_min, or '
                    'save more often (default_hooks.checkpoint.interval)',
                    file=log,
                )
                return 1
            # Slurm ends a job with SIGTERM, to start it again or for good. Python would
            # die of it before the loops below know which.
            signal.signal(signal.SIGTERM, self._note_end)
            env = {**os.environ, **self.env}
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
            while self.process.poll() is None:
                time.sleep(0.2)
        # When Slurm ends a job to start it again later, the command's status says
        # nothing about the step: wait for the end.
        deadline = time.monotonic() + _KILL_WAIT
        while self.ending and time.monotonic() < deadline:
            if self.step.cancelled_file.exists():
                break
            time.sleep(0.2)
        return self.process.returncode

    def _note_end(self, number: int, frame: FrameType | None) -> None:
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
    nodes = here.hostnames
    if len(nodes) == 1:
        return []
    host = os.environ.get('MASTER_ADDR', nodes[0])
    return [
        f'--nnodes={len(nodes)}',
        f'--nproc_per_node={processes // len(nodes)}',
        '--rdzv-backend=c10d',
        f'--rdzv-endpoint={host}:{20000 + int(here.raw_job_id) % 10000}',
        f'--rdzv-id={here.raw_job_id}.{again}',
        f'--rdzv-conf=is_host={here.global_rank == 0}',
    ]


def read_job(step: Step, number: str) -> dict[str, Any]:
    """What a job wrote down, or what it would have before it started."""
    found = read_json(step.job_file) if step.job_file.is_file() else {}
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
        gone = self._gone()
        record = read_job(self.step, self.job.job_id)
        self.requeues = max(0, len(record['starts']) - 1)
        if gone and record['status'] is None:
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
        elif self.absent_since is None:
            self.absent_since = self.backend.looks
        return self.absent_since not in (None, self.backend.looks)

    def _why(self) -> str:
        text = f'{self.name} ended without a result'
        if self.backend.cluster == 'slurm':
            shown = _answer('scontrol', '--oneliner', 'show', 'job', self.job.job_id)
            if state := re.search(r'JobState=(\S+)', shown or ''):
                text += f' ({state.group(1)})'
        if not (self.job.paths.stdout.exists() or self.job.paths.stderr.exists()):
            text += f' and wrote nothing: do the nodes see {self.backend.folder}?'
        return text

    def interrupt(self) -> None:
        """Ask the cluster to end the job."""
        self.step.cancelled_file.touch()
        self.job.cancel(check=False)

    def stop(self) -> None:
        """Cancel the job and wait until the cluster has ended it."""
        if self.backend.cluster == 'slurm':
            self.interrupt()
            deadline = time.monotonic() + _KILL_WAIT
            while self.job.job_id in (self.backend.queue(fresh=True) or ()):
                if time.monotonic() > deadline:
                    break
                time.sleep(1)


def _answer(*command: str) -> str | None:
    """Output of a command of Slurm, None when it fails."""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if found.returncode else found.stdout


class SlurmBackend:
    """Submits steps.

    Args:
        folder: The study's; submitit keeps what it hands to the jobs below it.
        cwd: Folder in which the commands run; all nodes must see both.
        resources: What the steps ask for; ``cluster=local`` needs no cluster.
        jobs: Steps submitted at a time.
    """

    poll_seconds = 2.0
    #: Between two looks at the queue.
    look_seconds = 15.0

    def __init__(
        self, folder: Path, cwd: Path, resources: Resources, jobs: int
    ) -> None:
        import submitit

        self.folder = folder.absolute() / 'slurm'
        self.cwd = cwd
        self.jobs = jobs
        self.resources = resources
        self.cluster = resources.common.pop('cluster', 'slurm')
        self.looks = 0
        self._looked = 0.0
        self._queue: set[str] | None = None
        general = set(submitit.AutoExecutor._valid_parameters())
        special = set(submitit.SlurmExecutor._valid_parameters())
        special -= set(submitit.SlurmExecutor._equivalence_dict().values())
        self._general = general - {'name', 'tasks_per_node'}
        resources.check_names({*self._general, *special, 'max_num_timeout'})

    def check(self, steps: list[Step]) -> None:
        """Refuse layouts that cannot work, and folders that a node does not see.

        Without a free node the folders are not looked at.
        """
        self.resources.check(steps)
        if self.cluster != 'slurm':
            return
        folders = [self.folder.parent, self.cwd]
        look = ' && '.join(f'test -d {shlex.quote(str(path))}' for path in folders)
        common = self.resources.common
        where = [
            f'--{key}={common[key]}'
            for key in ('partition', 'account', 'qos', 'constraint')
            if key in common
        ]
        command = ['srun', *where, '--quiet', '--ntasks=1', '--time=1']
        command += [f'--immediate={_LOOK_WAIT}', 'sh', '-c']
        command.append(f'{look} || exit {_UNSEEN}')
        # Inside a job, srun would only ask the job's own node.
        env = {k: v for k, v in os.environ.items() if not k.startswith('SLURM_JOB')}
        answer = subprocess.run(command, capture_output=True, env=env, check=False)
        if answer.returncode == _UNSEEN:
            listed = ' and '.join(map(str, folders))
            raise StudyError(
                f'the nodes do not see {listed}: both must be on a shared file system. '
                'Choose the first with --work-dir'
            )

    def has_room(self, step: Step, running: list[Step]) -> bool:
        return len(running) < self.jobs

    def environment(self, step: Step) -> dict[str, str]:
        found = self.resources.of(step)
        cpus = found['cpus_per_task'] * found['nodes']
        return thread_variables(cpus // step.processes)

    def start(self, step: Step, command: list[str]) -> SlurmJob:
        import submitit
        from submitit.core.utils import UncompletedJobError

        options = self.resources.of(step)
        limit = options.pop('max_num_timeout', 100)
        if self.cluster != 'slurm':
            del options['nodes']
        special = [key for key in options if key not in self._general]
        options.update({f'slurm_{key}': options.pop(key) for key in special})
        step.cancelled_file.unlink(missing_ok=True)
        work = Command(step, command, self.environment(step), self.cwd)
        try:
            executor = submitit.AutoExecutor(
                self.folder, cluster=self.cluster, slurm_max_num_timeout=limit
            )
            executor.update_parameters(name=step.name.replace('/', '_'), **options)
            job = executor.submit(work)
        except (RuntimeError, ValueError, AssertionError, UncompletedJobError) as error:
            raise StudyError(f'cannot be submitted: {error}') from error
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

    def queue(self, fresh: bool = False) -> set[str] | None:
        """Numbers of the jobs that Slurm holds, None when it does not answer.

        ``squeue`` needs no accounting data base, which small clusters do not have.
        """
        if fresh or time.monotonic() - self._looked > self.look_seconds:
            numbers = _answer('squeue', '--noheader', '--me', '--format', '%i')
            self._queue = None if numbers is None else set(numbers.split())
            self._looked = time.monotonic()
            self.looks += 1
        return self._queue

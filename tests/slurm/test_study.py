"""A study through submitit on a real Slurm of two nodes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from driver import make_step

pytest.importorskip('submitit')

pytestmark = pytest.mark.once

HERE = Path(__file__).parent
TRAINING = str(HERE / 'fake_training.py')
MEMORY = 'mem_gb=1'


class Study:
    """A study in a process of its own."""

    def __init__(self, folder, env, *steps, options=(), retries=0):
        self.folder = folder
        self.env = env
        self.steps = [make_step(folder, **step) for step in steps]
        command = [sys.executable, HERE / 'driver.py', folder, retries]
        command += [json.dumps(steps), MEMORY, 'timeout_min=5', *options]
        self.command = [str(word) for word in command]
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, path, text='', timeout=60):
        deadline = time.monotonic() + timeout
        while not path.exists() or not re.search(text, path.read_text()):
            if self.process.poll() is not None:
                pytest.fail(f'{path} did not appear:\n{self.process.stdout.read()}')
            if time.monotonic() > deadline:
                self.finish(0)
            time.sleep(0.1)

    def finish(self, timeout=150):
        try:
            output, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            shown = [self.slurm('squeue'), self.slurm('sinfo', '-N', '-l')]
            shown += [f'{s.log}:\n{s.log.read_text()}' for s in self.steps]
            self.process.kill()
            output, _ = self.process.communicate()
            pytest.fail('\n'.join([f'not done in {timeout} s:', output, *shown]))
        return self.process.returncode, output

    def slurm(self, *command):
        return subprocess.check_output(command, env=self.env, text=True)

    def attempts(self, step):
        return step.history()['attempts']

    def job(self, step):
        return self.attempts(step)[-1]['job'].removeprefix('job ')

    def starts(self, step):
        """Count and job at each start."""
        lines = (step.work_dir / 'starts').read_text().splitlines()
        return [tuple(map(int, line.split())) for line in lines]


def training(*command, name='train', **settings):
    return dict(name=name, command=[TRAINING, *map(str, command)], **settings)


@pytest.fixture
def study(slurm, tmp_path):
    started = []

    def start(*steps, **settings):
        started.append(Study(tmp_path, slurm, *steps, **settings))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
    subprocess.run(['scancel', '--me'], env=slurm, check=True)


def test_what_may_happen_to_a_job(study):
    run = study(
        training(42, name='limited', kind='pretrain'),
        training(9, name='requeued', kind='transfer'),
        training(4, 2, name='dies', kind='evaluate'),
        training(600, -1, name='stuck', kind='export'),
        training(600, -1, name='cancelled', kind='analysis'),
        training(1, name='after', deps=['cancelled']),
        options=['pretrain:timeout_min=1', 'pretrain:signal_delay_s=50'],
        retries=1,
    )
    limited, requeued, dies, stuck, cancelled, _ = run.steps
    run.until(requeued.work_dir / 'last_checkpoint', '3')
    run.slurm('scontrol', 'requeue', run.job(requeued))
    for start in (1, 2):
        run.until(stuck.work_dir / 'starts', start * '0 [0-9]+\n')
        run.slurm('scontrol', 'requeue', run.job(stuck))
    run.until(cancelled.work_dir / 'starts')
    run.slurm('scancel', run.job(cancelled))
    status, output = run.finish()
    assert status == 1

    # The time limit and a requeue are no ends: one attempt, one job, a resume.
    for step, least in ((limited, 1), (requeued, 3)):
        assert f'{step.name}: done' in output
        [attempt] = run.attempts(step)
        starts = run.starts(step)
        assert attempt['requeues'] == len(starts) - 1 >= 1
        assert len({job for _, job in starts}) == 1
        assert starts[1][0] >= least
    # A step that died is resumed by another job.
    assert 'dies: done' in output
    assert [count for count, _ in run.starts(dies)] == [0, 2]
    assert 'died on purpose' in run.attempts(dies)[0]['problem']
    # Others fail, and say why.
    assert 'no checkpoint was written in two attempts' in output
    assert len(run.starts(stuck)) == 2
    assert re.search(r'cancelled: failed job \d+ ended .* \(CANCELLED\)', output)
    assert 'after: skipped needs cancelled' in output


def test_killed_study_finds_its_job_again(study):
    run = study(training(8), training(1, name='after', deps=['train']))
    step, after = run.steps
    run.until(step.work_dir / 'starts')
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.communicate()
    run.start()
    status, output = run.finish()
    assert status == 0, output
    assert len(run.starts(step)) == 1
    assert step.record()['attempts'] == 1
    assert run.job(step) != run.job(after)


def test_interrupted_study_cancels_its_jobs(study):
    run = study(training(60))
    [step] = run.steps
    run.until(step.work_dir / 'starts')
    run.process.send_signal(signal.SIGINT)
    run.finish(60)
    assert run.slurm('squeue', '--noheader') == ''
    assert not step.result.exists()


def test_nodes_that_do_not_see_the_folder(slurm, tmp_path):
    """The driver sees a file system that the daemons of the nodes do not."""
    work = tmp_path / 'hidden/work'
    work.parent.mkdir()
    steps = json.dumps([training(1)])
    command = [sys.executable, HERE / 'driver.py', work, 0, steps, 'partition=main']
    script = f'mount -t tmpfs none {work.parent} && mkdir {work} && exec "$@"'
    done = subprocess.run(
        ['unshare', '--mount', 'sh', '-c', script, 'sh', *map(str, command)],
        env=slurm,
        capture_output=True,
        text=True,
    )
    if 'unshare failed' in done.stderr:
        pytest.skip('this machine allows no mount of its own')
    assert f'the nodes do not see {work} and ' in done.stderr
    assert done.returncode == 1


def test_each_kind_asks_for_its_own_resources(study):
    options = ['cpus_per_task=2', 'export:cpus_per_task=1', 'evaluate:mem_gb=2']
    kinds = ('pretrain', 'export', 'evaluate', 'costs')
    run = study(*(training(1, name=k, kind=k) for k in kinds), options=options)
    asked = {}
    for step in run.steps:
        run.until(step.work_dir / 'attempts.json', 'job ')
        asked[step.kind] = run.slurm('scontrol', '-o', 'show', 'job', run.job(step))
    expected = {
        'pretrain': ('CPUs/Task=2', 'MinMemoryNode=1G', 'OverSubscribe=OK'),
        'export': ('CPUs/Task=1', 'MinMemoryNode=1G', 'OverSubscribe=OK'),
        'evaluate': ('CPUs/Task=2', 'MinMemoryNode=2G', 'OverSubscribe=OK'),
        'costs': ('CPUs/Task=2', 'MinMemoryNode=1G', 'OverSubscribe=NO'),
    }
    for kind, parts in expected.items():
        assert all(part in asked[kind] for part in parts), asked[kind]
    assert run.finish()[0] == 0


def test_a_node_dies_and_the_retry_resumes(study, slurm):
    run = study(training(10, processes=2), options=['nodes=2'], retries=1)
    [step] = run.steps
    run.until(step.work_dir / 'last_checkpoint', '3')
    kill_n2(slurm, int((step.work_dir / 'node-n2').read_text().split()[0]))
    # Until Slurm notices, it would start the next job there. DOWN ends this job.
    down = ('scontrol', 'update', 'NodeName=n2', 'Reason=dead')
    run.slurm(*down, 'State=DRAIN')
    run.until(step.job_file, '"status": 1', timeout=45)
    run.slurm(*down, 'State=DOWN')
    script, folder = HERE / 'cluster.sh', Path(slurm['SLURM_CONF']).parent
    subprocess.run(['bash', script, 'revive', folder], check=True)
    status, output = run.finish()
    assert status == 0, output
    starts = run.starts(step)
    assert len(starts) == len(run.attempts(step)) == 2
    assert starts[1][0] >= 3


def kill_n2(slurm, pid):
    """Kill everything that runs on the second node, its daemon first."""
    folder = Path(slurm['SLURM_CONF']).parent
    os.kill(int((folder / 'slurmd-n2.pid').read_text()), signal.SIGKILL)
    parents = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(')')
            parents[int(name.split()[0])] = int(rest.split()[1]), name
    while 'slurmstepd' not in parents[pid][1]:
        pid = parents[pid][0]
    tree = [pid]
    for parent in tree:
        tree += [child for child, (its, _) in parents.items() if its == parent]
    for process in tree:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

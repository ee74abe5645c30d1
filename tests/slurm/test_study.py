"""A study through submitit on a real Slurm."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mmgcp.study.step import Step, read_json

pytest.importorskip('submitit')

pytestmark = pytest.mark.once

DRIVER = textwrap.dedent("""
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_study import make_steps
    from mmgcp.study.display import Display
    from mmgcp.study.scheduler import Scheduler
    from mmgcp.study.slurm import SlurmBackend
    folder = Path(sys.argv[1])
    steps = make_steps(folder)
    options = {'timeout_min': '5', 'cpus_per_task': '1', 'mem_gb': '1'}
    backend = SlurmBackend(folder / 'slurm', folder, options, jobs=2)
    state = Scheduler(steps, folder, backend, Display(steps), poll=0.2).run()
    sys.exit(any(value != 'done' for value in state.values()))
""")
WORK = textwrap.dedent("""
    import os, pathlib, sys, time
    out = pathlib.Path(sys.argv[1])
    with open(out.parent / 'runs', 'a') as file:
        file.write('x')
    time.sleep(float(sys.argv[2]))
    out.write_text(os.environ['SLURM_JOB_ID'] + ' ' + os.environ['OMP_NUM_THREADS'])
""")


def make_steps(folder):
    steps = []
    for name, seconds, deps in (('first', '15', []), ('second', '0', ['first'])):
        work_dir = folder / 'steps' / name
        steps.append(
            Step(
                name=name,
                kind='fake',
                command=['python', '-c', WORK, str(work_dir / 'out'), seconds],
                result=work_dir / 'out',
                work_dir=work_dir,
                deps=deps,
            )
        )
    return steps


def drive(folder, env):
    command = [sys.executable, '-c', DRIVER, str(folder), str(Path(__file__).parent)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_killed_study_finds_its_job_again(slurm, tmp_path):
    first, second = make_steps(tmp_path)
    study = drive(tmp_path, slurm)
    deadline = time.monotonic() + 60
    while not (first.work_dir / 'runs').exists():
        assert study.poll() is None, study.stdout.read()
        assert time.monotonic() < deadline, first.log.read_text()
        time.sleep(0.2)
    os.kill(study.pid, signal.SIGKILL)
    study.communicate()
    again = drive(tmp_path, slurm)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert (first.work_dir / 'runs').read_text() == 'x'
    assert read_json(first.record_file)['attempts'] == 1
    jobs = [step.result.read_text().split() for step in (first, second)]
    assert jobs[0][0] != jobs[1][0]
    assert jobs[0][1] == '1'


def test_lost_job_is_a_failure(slurm, tmp_path):
    first, _ = make_steps(tmp_path)
    study = drive(tmp_path, slurm)
    deadline = time.monotonic() + 60
    while not (first.work_dir / 'runs').exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    name = read_json(first.work_dir / 'attempts.json')['attempts'][0]['job']
    command = ['scancel', '--signal=KILL', '--full', name.removeprefix('job ')]
    subprocess.run(command, env=slurm, check=True)
    output, _ = study.communicate(timeout=180)
    assert study.returncode == 1
    assert 'first: failed' in output
    assert 'second: skipped' in output


def test_interrupted_study_cancels_its_jobs(slurm, tmp_path):
    first, _ = make_steps(tmp_path)
    study = drive(tmp_path, slurm)
    deadline = time.monotonic() + 60
    while not (first.work_dir / 'runs').exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    study.send_signal(signal.SIGINT)
    study.communicate(timeout=60)
    command = ['squeue', '--noheader', '--states=RUNNING,PENDING']
    while subprocess.check_output(command, env=slurm, text=True).strip():
        assert time.monotonic() < deadline + 30
        time.sleep(0.2)
    assert not first.result.exists()

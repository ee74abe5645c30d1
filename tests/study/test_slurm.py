"""The cluster backend, through submitit's executor for one machine."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mmgcp.study.progress import Display
from mmgcp.study.scheduler import Scheduler
from mmgcp.study.slurm import SlurmBackend
from mmgcp.study.step import StudyError
from mmgcp.utils.files import read_json

from .fake import fake_steps

pytest.importorskip('submitit')


def run(steps, folder, **options):
    backend = SlurmBackend(folder / 'slurm', folder, {'cluster': 'local', **options}, 8)
    backend.poll_seconds = 0.05
    display = Display(steps, 8, Console(file=io.StringIO()))
    return Scheduler(steps, backend, display).run()


def test_steps_run_as_jobs(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0])[:2]
    state = run(steps, tmp_path, cpus_per_task='1', timeout_min='5')
    assert set(state.values()) == {'done'}
    assert read_json(steps[1].result) == {'mIoU': 10.0}
    record = read_json(steps[0].record_file)
    assert record['env']['OMP_NUM_THREADS'] == '1'
    assert read_json(steps[0].work_dir / 'attempts.json')['attempts'][0][
        'job'
    ].startswith('job ')
    # Done is done, whichever way it ran.
    assert run(steps, tmp_path) == state


def test_failing_job_names_its_log(tmp_path):
    [step] = fake_steps(tmp_path, seeds=[0])[:1]
    step.command = ['python', '-c', 'raise SystemExit("broken on purpose")']
    assert run([step], tmp_path) == {step.name: 'failed'}
    assert 'broken on purpose' in Path(step.log).read_text()


def test_unknown_option_is_named(tmp_path):
    with pytest.raises(StudyError, match='partitoin'):
        SlurmBackend(tmp_path, tmp_path, {'cluster': 'local', 'partitoin': 'x'}, 1)

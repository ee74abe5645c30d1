"""The cluster backend, through submitit's executor for one machine."""

import io

import pytest

from mmgcp.study import slurm
from mmgcp.study.progress import Display, plain_console
from mmgcp.study.resources import Resources
from mmgcp.study.scheduler import Scheduler
from mmgcp.study.slurm import SlurmBackend
from mmgcp.study.step import StudyError

from .fake import fake_steps, more_steps

pytest.importorskip('submitit')

from submitit import SlurmJob


def run(steps, folder, cluster='local', **options):
    resources = Resources({'cluster': cluster, **options})
    backend = SlurmBackend(folder, folder, resources, 8)
    backend.poll_seconds = 0.05
    display = Display(steps, 8, plain_console(file=io.StringIO()))
    return Scheduler(steps, backend, display).run()


def test_steps_run_as_jobs(tmp_path):
    steps = more_steps(fake_steps(tmp_path, seeds=[0]), tmp_path)[:4]
    steps[2].command = ['python', '-c', 'raise SystemExit("broken on purpose")']
    state = run(steps, tmp_path, cpus_per_task=1, timeout_min=5)
    assert list(state.values()) == ['done', 'done', 'failed', 'skipped']
    assert steps[0].record()['env']['OMP_NUM_THREADS'] == '1'
    assert steps[0].history()['attempts'][0]['job'].startswith('job ')
    assert 'broken on purpose' in steps[2].log.read_text()
    # Done is done, whichever way it ran.
    assert run(steps, tmp_path) == state


def test_unknown_cluster_is_an_error_of_the_step(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0])[:1]
    assert list(run(steps, tmp_path, cluster='slrum').values()) == ['failed']
    problem = steps[0].history()['attempts'][0]['problem']
    assert "cannot be submitted: AutoExecutor doesn't know" in problem


def test_folder_that_the_nodes_do_not_see(tmp_path, monkeypatch):
    """The queue no longer has the job, and neither log nor record were written."""
    answers = {'squeue': '', 'scontrol': 'JobId=7 JobState=FAILED Reason=None'}
    monkeypatch.setattr(slurm, '_answer', lambda name, *rest: answers[name])
    backend = SlurmBackend(tmp_path, tmp_path, Resources({}), 1)
    backend.look_seconds = 0.0
    [step] = fake_steps(tmp_path, seeds=[0])[:1]
    job = backend.attach(step, 'job 7')
    assert job is None  # a later study submits it again
    job = slurm.SlurmJob(backend, step, SlurmJob(backend.folder, '7'))
    assert job.poll() is None  # a queue that is asked once may be late
    assert job.poll() == 1
    assert job.problem == (
        'job 7 ended without a result (FAILED) and wrote nothing: '
        f'do the nodes see {backend.folder}?'
    )


def test_unknown_option_is_named(tmp_path):
    message = r'partitoin; did you mean partition\?'
    with pytest.raises(StudyError, match=message):
        SlurmBackend(tmp_path, tmp_path, Resources({'partitoin': 'x'}), 1)

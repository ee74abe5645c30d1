"""The engine on steps that are tiny Python commands.

``python -m study.test_scheduler FOLDER`` is a study that can be killed.
"""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from mmgcp.study.local import LocalBackend
from mmgcp.study.progress import Display
from mmgcp.study.pruning import prune
from mmgcp.study.scheduler import Scheduler, only_study_in
from mmgcp.study.step import StudyError, hash_steps

from .fake import fake_step
from .fake import run_steps as run
from .sleeping import overhead, planning

COUNT = textwrap.dedent("""
    import os, pathlib, sys, time
    folder, value, *inputs = sys.argv[1:]
    folder = pathlib.Path(folder)
    with open(folder / 'runs', 'a') as file:
        file.write('x')
    print('working', flush=True)
    (folder.parent / f'{folder.name}.pid').write_text(str(os.getpid()))
    if (folder.parent / f'{folder.name}.wait').exists():
        time.sleep(60)
    total = int(value) + sum(int(pathlib.Path(p).read_text()) for p in inputs)
    (folder / 'out.txt').write_text(str(total))
""")


def make_step(folder, name, value='1', deps=(), code=COUNT, kind='fake', **settings):
    inputs = [folder / 'steps' / dep / 'out.txt' for dep in deps]
    settings |= {'deps': deps, 'inputs': inputs}
    return fake_step(folder, name, kind, code, 'out.txt', value, *inputs, **settings)


def chain(folder, value='1'):
    return [
        make_step(folder, 'one'),
        make_step(folder, 'two', value, deps=['one']),
        make_step(folder, 'three', deps=['two']),
    ]


def runs(steps):
    return [len((step.work_dir / 'runs').read_text()) for step in steps]


def test_runs_in_order_and_only_once(tmp_path):
    steps = chain(tmp_path)
    assert set(run(steps, tmp_path)[0].values()) == {'done'}
    assert steps[-1].result.read_text() == '3'
    state, text = run(steps, tmp_path)
    assert set(state.values()) == {'done'}
    assert runs(steps) == [1, 1, 1]
    assert 'three: done before' in text
    record = steps[1].record()
    assert record['hash'] == hash_steps(steps)['two']
    assert record['command'] == steps[1].command
    assert record['env']['OMP_NUM_THREADS'] == '1'
    assert record['env']['OMP_WAIT_POLICY'] == 'PASSIVE'
    [sha] = [value['sha256'] for value in record['inputs'].values()]
    # sha256 of the single character that the step before wrote
    assert sha == '6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b'
    assert 'working' in steps[1].log.read_text()


def test_what_changed_runs_again_with_all_after_it(tmp_path):
    run(chain(tmp_path), tmp_path)
    steps = chain(tmp_path, value='5')
    run(steps, tmp_path)
    assert steps[-1].result.read_text() == '7'
    steps[0].result.write_text('10')
    run(steps, tmp_path)
    assert steps[-1].result.read_text() == '16'
    steps[1].result.unlink()
    run(steps, tmp_path)
    assert steps[-1].result.read_text() == '16'
    # A step that changed loses its folder, one whose result is gone keeps it.
    assert runs(steps) == [1, 2, 1]


@pytest.mark.parametrize(
    ('code', 'message'),
    [
        ('raise ValueError("broken on purpose")', 'exit status 1.*broken on purpose'),
        ('print("nothing")', 'without writing'),
        ('import os; os.kill(os.getpid(), 9)', r'SIGKILL \(out of memory\?\)'),
    ],
)
def test_failing_step_names_its_log_and_others_go_on(tmp_path, code, message):
    bad = make_step(tmp_path, 'bad', code=code)
    after, other = make_step(tmp_path, 'after', deps=['bad']), make_step(tmp_path, 'b')
    state, text = run([bad, after, other], tmp_path, jobs=1)
    assert state == {'bad': 'failed', 'after': 'skipped', 'b': 'done'}
    assert re.search(message, text)
    assert str(bad.log) in text


DIES = textwrap.dedent("""
    import pathlib, sys
    folder = pathlib.Path(sys.argv[1])
    mark = folder / 'mark'
    count = int(mark.read_text()) if '--resume' in sys.argv else 0
    if count < int(sys.argv[2]):
        mark.write_text(str(count + 1))
    if count + 1 < 3:
        sys.exit('died on purpose')
    (folder / 'out.txt').write_text('3')
""")


def dying(folder, checkpoints):
    step = make_step(folder, 'train', checkpoints, code=DIES)
    step.resume_mark = step.work_dir / 'mark'
    return step


def test_resumes_only_when_nothing_changed(tmp_path):
    assert run([dying(tmp_path, '3')], tmp_path)[0] == {'train': 'failed'}
    for state in ('failed', 'failed', 'done'):
        step = dying(tmp_path, '4')
        assert run([step], tmp_path)[0] == {'train': state}
    assert step.record()['attempts'] == 3


@pytest.mark.parametrize(
    ('retries', 'checkpoints', 'state', 'attempts'),
    [(2, '3', 'done', 3), (1, '3', 'failed', 2), (9, '1', 'failed', 2)],
)
def test_retries_while_checkpoints_advance(
    tmp_path, retries, checkpoints, state, attempts
):
    step = dying(tmp_path, checkpoints)
    assert run([step], tmp_path, retries=retries)[0] == {'train': state}
    assert len(step.history()['attempts']) == attempts


@pytest.mark.parametrize(
    ('measured', 'message'),
    [
        ('{"mIoU": null}', 'mIoU in .*out.txt is not finite'),
        ('{"mIoU": NaN}', 'mIoU in .*out.txt is not finite'),
        ('{"mIou": 1.0, "aAcc": 2.0}', "has no metric 'mIoU'; it has aAcc, mIou"),
    ],
)
def test_metrics_that_say_nothing_fail_the_step(tmp_path, measured, message):
    code = 'import sys; open(sys.argv[1] + "/out.txt", "w").write(sys.argv[2])'
    step = make_step(tmp_path, 'test', measured, code=code)
    step.meta['metrics'] = ['mIoU']
    state, text = run([step], tmp_path, retries=1)
    assert state == {'test': 'failed'}
    assert re.search(message, text)
    assert not step.record_file.exists()


def test_checkpoints_that_nothing_needs_are_removed(tmp_path):
    code = textwrap.dedent("""
        import pathlib, sys
        folder = pathlib.Path(sys.argv[1])
        with open(folder / 'runs', 'a') as file:
            file.write('x')
        for name in ('epoch_1.pth', 'epoch_2.pth', 'last_checkpoint'):
            (folder / name).write_text('12345')
    """)
    train = fake_step(tmp_path, 'train', 'fake', code, 'epoch_2.pth')
    train.resume_mark = train.work_dir / 'last_checkpoint'

    def steps(value='1'):
        test = fake_step(tmp_path, 'test', 'fake', COUNT, 'out.txt', value)
        test.deps, test.inputs = ['train'], [train.result]
        return [train, test]

    run(steps(), tmp_path)
    assert prune(steps(), 'last') == 5
    assert [f.name for f in train.work_dir.glob('*.pth')] == ['epoch_2.pth']
    assert prune(steps(), 'report') == 5
    assert not train.result.exists()
    # Everything still counts as done, but nothing can be made of what is gone.
    state, text = run(steps(), tmp_path)
    assert state == {'train': 'done', 'test': 'done'}
    assert text.count('done before') == 2
    assert prune(steps(), 'report') == 0
    state, text = run(steps('2'), tmp_path)
    assert state == {'train': 'done', 'test': 'failed'}
    mark = train.work_dir / 'epoch_2.pth.removed'
    assert f'removed by --keep report. To make it again, delete {mark}' in text
    mark.unlink()
    assert set(run(steps('2'), tmp_path)[0].values()) == {'done'}
    assert (train.work_dir / 'runs').read_text() == 'xx'


@pytest.mark.once
def test_the_engine_costs_little(tmp_path):
    number, seconds = planning(tmp_path, 300)
    assert number >= 200
    assert seconds < 10
    assert overhead(tmp_path, 30)[1] < 0.2  # CPU time: not that of what runs beside


def test_accelerators_are_shared_out_and_not_more_than_there_are(tmp_path):
    code = textwrap.dedent("""
        import os, pathlib, sys, time
        print(os.environ['CUDA_VISIBLE_DEVICES'])
        while not pathlib.Path(sys.argv[1], 'go').exists():
            time.sleep(0.02)
    """)
    steps = [make_step(tmp_path, name, code=code, processes=1) for name in 'ab']
    backend = LocalBackend(2, tmp_path, cpus=2, devices=['3', '5'])
    for step in steps:
        step.work_dir.mkdir(parents=True)
    jobs = [backend.start(step, [sys.executable, *step.command[1:]]) for step in steps]
    assert not backend.has_room(steps[0], [])
    for step in steps:
        (step.work_dir / 'go').touch()
    assert [job.process.wait() for job in jobs] == [0, 0]
    assert backend.has_room(steps[0], [])
    assert [step.log.read_text().strip() for step in steps] == ['3', '5']
    steps[1].processes = 3
    with pytest.raises(StudyError, match='b starts 3 processes and there are 2 acc'):
        backend.check(steps)


def test_costs_are_measured_alone(tmp_path):
    code = textwrap.dedent("""
        import sys, time
        start = time.time(); time.sleep(0.2)
        open(sys.argv[1] + '/out.txt', 'w').write(f'{start} {time.time()}')
    """)
    kinds = ('costs', 'fake', 'fake')
    steps = [
        make_step(tmp_path, f's{n}', code=code, kind=kind)
        for n, kind in enumerate(kinds)
    ]
    assert set(run(steps, tmp_path, jobs=3)[0].values()) == {'done'}
    spans = [tuple(map(float, s.result.read_text().split())) for s in steps]
    (start, end), *others = spans
    assert all(end <= other[0] or start >= other[1] for other in others)


class Driven:
    """The chain in a process of its own; one step waits in its middle."""

    def __init__(self, folder, waiting):
        self.folder = folder / 'steps'
        self.folder.mkdir(parents=True)
        self.wait = self.folder / f'{waiting}.wait'
        self.wait.touch()
        self.start(folder)
        pid = self.folder / f'{waiting}.pid'
        deadline = time.monotonic() + 60
        while not pid.exists() or not pid.read_text():
            assert time.monotonic() < deadline, f'{pid} did not appear'
            assert self.process.poll() is None, self.process.stdout.read()
            time.sleep(0.02)
        self.child = int(pid.read_text())

    def start(self, folder):
        tests = Path(__file__).parents[1]
        paths = os.pathsep.join([str(tests), os.environ.get('PYTHONPATH', '')])
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'study.test_scheduler', str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, 'PYTHONPATH': paths},
        )

    def await_end_of_child(self):
        """SIGTERM kills the study; the system then ends its steps."""
        deadline = time.monotonic() + 10
        while not self.child_is_gone():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def child_is_gone(self):
        try:
            stat = Path(f'/proc/{self.child}/stat').read_text()
        except OSError:
            return True
        return stat.rpartition(')')[2].split()[0] == 'Z'


def test_sigkill_in_a_step_redoes_that_step_only(tmp_path):
    driven = Driven(tmp_path, 'two')
    os.kill(driven.process.pid, signal.SIGKILL)
    driven.process.communicate()
    driven.wait.unlink()
    driven.start(tmp_path)
    output, _ = driven.process.communicate(timeout=60)
    assert driven.process.returncode == 0, output
    assert driven.child_is_gone()
    steps = chain(tmp_path)
    assert steps[-1].result.read_text() == '3'
    # The folder of the killed step is kept, so its two attempts are seen.
    assert runs(steps) == [1, 2, 1]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_steps_and_frees_the_folder(tmp_path, number):
    driven = Driven(tmp_path, 'two')
    started = time.monotonic()
    with pytest.raises(StudyError, match=f'process {driven.process.pid} on'):
        only_study_in(tmp_path).__enter__()
    assert time.monotonic() - started < 5
    os.kill(driven.process.pid, number)
    driven.process.communicate(timeout=30)
    assert driven.process.returncode != 0
    driven.await_end_of_child()
    one, two, _ = chain(tmp_path)
    assert one.record()['attempts'] == 1
    assert not two.record_file.exists()
    with only_study_in(tmp_path):
        pass


if __name__ == '__main__':
    here = Path(sys.argv[1])
    steps = chain(here)
    with only_study_in(here):
        backend = LocalBackend(1, here, cpus=1)
        backend.poll_seconds = 0.01
        state = Scheduler(steps, backend, Display(steps)).run()
    sys.exit(any(value != 'done' for value in state.values()))

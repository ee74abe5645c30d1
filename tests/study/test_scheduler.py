"""The engine on steps that are tiny Python commands."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from rich.console import Console

from mmgcp.study.local import LocalBackend
from mmgcp.study.progress import Display
from mmgcp.study.scheduler import Scheduler, only_study_in
from mmgcp.study.step import Step, StudyError, hash_steps

COUNT = textwrap.dedent("""
    import sys, pathlib
    out, value, *inputs = sys.argv[1:]
    out = pathlib.Path(out)
    with open(out.parent / 'runs', 'a') as file:
        file.write('x')
    print('working', flush=True)
    total = int(value) + sum(int(pathlib.Path(p).read_text()) for p in inputs)
    out.write_text(str(total))
""")


def make_step(folder, name, value='1', deps=(), code=COUNT, **options):
    work_dir = folder / 'steps' / name
    inputs = [folder / 'steps' / dep / 'out.txt' for dep in deps]
    command = ['python', '-c', code, str(work_dir / 'out.txt'), value]
    return Step(
        name=name,
        kind='fake',
        command=[*command, *map(str, inputs)],
        result=work_dir / 'out.txt',
        work_dir=work_dir,
        deps=list(deps),
        inputs=inputs,
        **options,
    )


def run(steps, folder, jobs=2):
    console = Console(file=io.StringIO(), soft_wrap=True)
    backend = LocalBackend(jobs, folder, cpus=2)
    backend.poll_seconds = 0.01
    state = Scheduler(steps, backend, Display(steps, jobs, console)).run()
    return state, console.file.getvalue()


def runs(step):
    return len((step.work_dir / 'runs').read_text())


def chain(folder, **options):
    return [
        make_step(folder, 'data'),
        make_step(folder, 'train', deps=['data'], **options),
        make_step(folder, 'report', deps=['train']),
    ]


def test_runs_in_order_and_only_once(tmp_path):
    steps = chain(tmp_path)
    state, _ = run(steps, tmp_path)
    assert set(state.values()) == {'done'}
    assert steps[-1].result.read_text() == '3'
    state, text = run(steps, tmp_path)
    assert set(state.values()) == {'done'}
    assert [runs(step) for step in steps] == [1, 1, 1]
    assert 'report: done before' in text


def test_changed_command_runs_again_with_all_after_it(tmp_path):
    run(chain(tmp_path), tmp_path)
    steps = chain(tmp_path)
    steps[1] = make_step(tmp_path, 'train', value='5', deps=['data'])
    run(steps, tmp_path)
    assert steps[-1].result.read_text() == '7'
    assert runs(steps[0]) == 1


def test_changed_input_file_runs_again(tmp_path):
    steps = chain(tmp_path)
    run(steps, tmp_path)
    (tmp_path / 'steps/data/out.txt').write_text('10')
    run(steps, tmp_path)
    assert steps[-1].result.read_text() == '12'


def test_missing_result_runs_again(tmp_path):
    steps = chain(tmp_path)
    run(steps, tmp_path)
    steps[1].result.unlink()
    state, _ = run(steps, tmp_path)
    assert set(state.values()) == {'done'}
    assert steps[1].result.read_text() == '2'


def test_record_traces_the_result(tmp_path):
    steps = chain(tmp_path)
    run(steps, tmp_path)
    record = steps[1].record()
    assert record['hash'] == hash_steps(steps)['train']
    assert record['command'] == steps[1].command
    assert record['env']['OMP_NUM_THREADS'] == '1'
    assert record['env']['OMP_WAIT_POLICY'] == 'PASSIVE'
    [sha] = [value['sha256'] for value in record['inputs'].values()]
    # sha256 of the single character that the step before wrote
    assert sha == '6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b'
    assert 'working' in steps[1].log.read_text()


def test_failing_step_names_its_log_and_others_go_on(tmp_path):
    bad = make_step(tmp_path, 'bad', code='raise ValueError("broken on purpose")')
    after = make_step(tmp_path, 'after', deps=['bad'])
    other = make_step(tmp_path, 'other')
    state, text = run([bad, after, other], tmp_path, jobs=1)
    assert state == {'bad': 'failed', 'after': 'skipped', 'other': 'done'}
    assert 'broken on purpose' in text
    assert str(bad.log) in text


def test_step_without_its_result_fails(tmp_path):
    step = make_step(tmp_path, 'silent', code='print("nothing")')
    state, text = run([step], tmp_path)
    assert state == {'silent': 'failed'}
    assert 'without writing' in text


def test_resumes_only_when_nothing_changed(tmp_path):
    code = textwrap.dedent("""
        import sys, pathlib
        out = pathlib.Path(sys.argv[1])
        (out.parent / 'mark').write_text('here')
        if '--resume' in sys.argv:
            out.write_text('resumed')
        else:
            sys.exit(3)
    """)

    def step(value):
        made = make_step(tmp_path, 'train', value, code=code)
        made.resume_mark = made.work_dir / 'mark'
        return made

    assert run([step('1')], tmp_path)[0] == {'train': 'failed'}
    assert run([step('2')], tmp_path)[0] == {'train': 'failed'}
    assert run([step('2')], tmp_path)[0] == {'train': 'done'}
    record = step('2').record()
    assert record['attempts'] == 2


def test_exclusive_step_runs_alone(tmp_path):
    code = textwrap.dedent("""
        import sys, pathlib, time
        out = pathlib.Path(sys.argv[1])
        start = time.time(); time.sleep(0.2)
        out.write_text(f'{start} {time.time()}')
    """)
    steps = [make_step(tmp_path, 'alone', code=code, exclusive=True)]
    steps += [make_step(tmp_path, name, code=code) for name in 'ab']
    state, _ = run(steps, tmp_path, jobs=3)
    assert set(state.values()) == {'done'}
    spans = [tuple(map(float, s.result.read_text().split())) for s in steps]
    (start, end), *others = spans
    assert all(end <= other[0] or start >= other[1] for other in others)


DRIVER = textwrap.dedent("""
    import io, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from rich.console import Console
    from test_scheduler import DRIVEN, Display, LocalBackend, Scheduler, only_study_in
    folder = Path(sys.argv[1])
    steps = DRIVEN(folder)
    with only_study_in(folder):
        backend = LocalBackend(1, folder, cpus=1)
        backend.poll_seconds = 0.01
        state = Scheduler(steps, backend, Display(steps)).run()
    sys.exit(any(value != 'done' for value in state.values()))
""")

SLOW = textwrap.dedent("""
    import os, sys, pathlib, time
    out, value, *inputs = sys.argv[1:]
    folder = pathlib.Path(out).parent
    with open(folder / 'runs', 'a') as file:
        file.write('x')
    (folder.parent / f'{folder.name}.pid').write_text(str(os.getpid()))
    if (folder.parent / f'{folder.name}.wait').exists():
        time.sleep(60)
    total = int(value) + sum(int(pathlib.Path(p).read_text()) for p in inputs)
    pathlib.Path(out).write_text(str(total))
""")


def DRIVEN(folder):
    return [
        make_step(folder, 'one', code=SLOW),
        make_step(folder, 'two', deps=['one'], code=SLOW),
        make_step(folder, 'three', deps=['two'], code=SLOW),
    ]


def drive(folder):
    command = [sys.executable, '-c', DRIVER, str(folder), str(Path(__file__).parent)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(path, process, timeout=60):
    deadline = time.monotonic() + timeout
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f'{path} did not appear'
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    return int(path.read_text())


def gone(pid):
    try:
        stat = Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return True
    return stat.rpartition(')')[2].split()[0] == 'Z'


def wait_gone(pid, timeout=20):
    deadline = time.monotonic() + timeout
    while not gone(pid):
        assert time.monotonic() < deadline, f'process {pid} still runs'
        time.sleep(0.02)


@pytest.mark.parametrize('name', ['one', 'three'])
def test_sigkill_in_a_step_redoes_that_step_only(tmp_path, name):
    wait = tmp_path / 'steps' / f'{name}.wait'
    wait.parent.mkdir(parents=True)
    wait.write_text('')
    process = drive(tmp_path)
    child = wait_for(tmp_path / 'steps' / f'{name}.pid', process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait.unlink()
    again = drive(tmp_path)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 0, output
    assert gone(child)
    assert (tmp_path / 'steps/three/out.txt').read_text() == '3'
    expected = dict.fromkeys(('one', 'two', 'three'), 1)
    # The folder of the killed step is kept, so its two attempts are seen.
    expected[name] = 2
    found = {key: len((tmp_path / f'steps/{key}/runs').read_text()) for key in expected}
    assert found == expected


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_steps(tmp_path, number):
    wait = tmp_path / 'steps/two.wait'
    wait.parent.mkdir(parents=True)
    wait.write_text('')
    process = drive(tmp_path)
    child = wait_for(tmp_path / 'steps/two.pid', process)
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert process.returncode != 0
    wait_gone(child)
    assert json.loads((tmp_path / 'steps/one/step.json').read_text())['attempts'] == 1
    assert not (tmp_path / 'steps/two/step.json').exists()


def test_second_study_in_one_folder_refuses(tmp_path):
    wait = tmp_path / 'steps/one.wait'
    wait.parent.mkdir(parents=True)
    wait.write_text('')
    process = drive(tmp_path)
    wait_for(tmp_path / 'steps/one.pid', process)
    started = time.monotonic()
    with pytest.raises(StudyError, match=f'process {process.pid} on'):
        only_study_in(tmp_path).__enter__()
    assert time.monotonic() - started < 5
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    with only_study_in(tmp_path):
        pass

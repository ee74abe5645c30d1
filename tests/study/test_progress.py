"""Reading logs and estimating the time left."""

import io

import pytest
from rich.console import Console

from mmgcp.study.progress import Display, format_seconds, read_progress
from mmgcp.study.step import Step


def make_step(tmp_path, name='a', deps=(), **options):
    meta = options.pop('meta', {})
    step = Step(name, 'transfer', [], tmp_path / 'r', tmp_path / name, list(deps))
    step.meta.update(meta)
    for key, value in options.items():
        setattr(step, key, value)
    return step


STAMP = '2026/01/01 10:00:00 - mmengine - INFO - '


@pytest.mark.parametrize(
    ('line', 'fraction'),
    [
        ('Epoch(train)  [3][ 50/100]  lr: 1e-3  eta: 0:00:12  loss: 2.0', 0.25),
        ('Iter(train) [ 250/1000]  lr: 1e-3  loss: 2.0', 0.25),
        ('Epoch(test) [ 10/40]    eta: 0:00:02', 0.25),
        ('composing scenes ━━━━━━  25%', 0.25),
        ('loading', None),
    ],
)
def test_fraction_is_read_from_the_log(tmp_path, line, fraction):
    step = make_step(tmp_path, meta={'max_epochs': 10})
    step.work_dir.mkdir()
    step.log.write_text(f'# 2026 $ python x\n{STAMP}{line}\n')
    assert read_progress(step) == (fraction, line)


def test_log_without_output_is_starting(tmp_path):
    step = make_step(tmp_path)
    assert read_progress(step) == (None, '')
    step.work_dir.mkdir()
    step.log.write_text('# 2026 $ python x\n')
    assert read_progress(step) == (None, 'starting')


def test_time_left_is_learned_from_what_ran(tmp_path):
    steps = [make_step(tmp_path, f'a{i}', expected_seconds=100.0) for i in range(3)]
    steps.append(make_step(tmp_path, 'b', expected_seconds=7.0, meta={'group': 'x'}))
    display = Display(steps, jobs=2, console=Console(file=io.StringIO()))
    assert display.left() == (3 * 100 + 7) / 2
    display.set(steps[0], 'done', '', 40.0)
    assert display.left() == (2 * 40 + 7) / 2
    display.set(steps[1], 'running', '')
    display.set(steps[2], 'skipped', '')
    # What runs takes longer than everything divided by the jobs.
    assert display.left() == pytest.approx(40, abs=1)


def test_seconds_are_readable():
    assert format_seconds(59.6) == '60 s'
    assert format_seconds(125) == '2 min 05 s'
    assert format_seconds(7320) == '2 h 02 min'


def test_terminal_shows_each_step_and_the_time_left(tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=90, height=20)
    steps = [make_step(tmp_path, f'step/{i}') for i in range(3)]
    for step in steps:
        step.work_dir.mkdir(parents=True)
    steps[1].log.write_text('Iter(train) [ 250/1000]  lr: 1e-3')
    with Display(steps, 1, console) as display:
        display.set(steps[0], 'done', '')
        display.set(steps[1], 'running', '')
        display.refresh()
    text = out.getvalue()
    for part in ('step/0: done', 'step/1', 'Iter(train) [ 250/1000]', 's left', '━'):
        assert part in text

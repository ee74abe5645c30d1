"""Reading logs and estimating the time left."""

import io

import pytest
from rich.console import Console

from mmgcp.study.display import Display
from mmgcp.study.progress import Estimator, format_seconds, read_progress, time_left
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


def test_estimate_learns(tmp_path):
    estimator = Estimator()
    a = make_step(tmp_path, expected_seconds=100.0, meta={'group': 'x'})
    b = make_step(tmp_path, expected_seconds=10.0, meta={'group': 'y'})
    assert estimator.expect(b) == 10
    estimator.learn(a, 300.0)
    # Guesses were three times too small so far.
    assert estimator.expect(b) == 30
    estimator.learn(b, 20.0)
    estimator.learn(b, 40.0)
    assert estimator.expect(b) == 30
    assert estimator.expect(a) == 300


def test_time_left_follows_the_graph(tmp_path):
    steps = [
        make_step(tmp_path, 'b', ['a']),
        make_step(tmp_path, 'c', ['a']),
        make_step(tmp_path, 'd'),
        make_step(tmp_path, 'e', ['b', 'c'], exclusive=True),
    ]
    expect = {'b': 10, 'c': 20, 'd': 7, 'e': 5}
    # One at a time: 3 + 10 + 20 + 7, then the exclusive step.
    assert time_left(steps, {'a': 3.0}, 1, expect) == 45
    # Two at a time: d beside a, b from 3 to 13, c from 7 to 27.
    assert time_left(steps, {'a': 3.0}, 2, expect) == 32
    assert time_left([], {'a': 3.0}, 2, {}) == 3


def test_seconds_are_readable():
    assert format_seconds(59.6) == '60 s'
    assert format_seconds(125) == '2 min 05 s'
    assert format_seconds(7320) == '2 h 02 min'


def test_terminal_shows_each_step_and_the_time_left(tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=90, height=20)
    steps = [make_step(tmp_path, f'step/{i}') for i in range(3)]
    with Display(steps, console) as display:
        display.set('step/0', 'done')
        display.set('step/1', 'running')
        display.update('step/1', 0.5, 'Epoch(train) [1]')
        display.refresh(90.0)
    text = out.getvalue()
    for part in ('step/2', 'waiting', 'Epoch(train) [1]', 'about 90 s left', '━'):
        assert part in text

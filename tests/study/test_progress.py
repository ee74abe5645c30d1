"""Reading logs and estimating the time left."""

import io

import pytest
from rich.console import Console

from mmgcp.study.progress import Display, format_seconds, read_progress
from mmgcp.study.step import Step

STAMP = '2026/01/01 10:00:00 - mmengine - INFO - '


def make_step(folder, name='a', seconds=100.0, log=None):
    step = Step(name, 'transfer', [], folder / 'r', folder / name)
    step.expected_seconds = seconds
    step.meta['max_epochs'] = 10
    step.work_dir.mkdir(parents=True)
    if log is not None:
        step.log.write_text(log)
    return step


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
    step = make_step(tmp_path, log=f'# 2026 $ python x\n{STAMP}{line}\n')
    assert read_progress(step) == (fraction, line)


def test_log_without_output_is_starting(tmp_path):
    assert read_progress(make_step(tmp_path)) == (None, '')
    step = make_step(tmp_path, 'b', log='# 2026 $ python x\n')
    assert read_progress(step) == (None, 'starting')


def test_time_left_is_learned_from_what_ran(tmp_path):
    steps = [make_step(tmp_path, f'a/{i}') for i in range(3)]
    steps.append(make_step(tmp_path, 'b', 7.0))
    display = Display(steps, jobs=2, console=Console(file=io.StringIO()))
    assert display.left() == (3 * 100 + 7) / 2
    display.set(steps[0], 'done', '', 40.0)
    assert display.left() == (2 * 40 + 7) / 2
    display.set(steps[1], 'running', '')
    display.set(steps[2], 'skipped', '')
    # What runs takes longer than everything divided by the jobs.
    assert display.left() == pytest.approx(40, abs=1)
    assert [format_seconds(s) for s in (59.6, 125, 7320)] == [
        '60 s',
        '2 min 05 s',
        '2 h 02 min',
    ]


def test_terminal_shows_each_step_and_the_time_left(tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=90, height=20)
    steps = [
        make_step(tmp_path, f's/{i}', log='Iter(train) [ 25/100] lr') for i in '01'
    ]
    display = Display(steps, 1, console)
    with display.bars:
        display.set(steps[0], 'done', '')
        display.set(steps[1], 'running', '')
        display.refresh()
    for part in ('s/0: done', 's/1', 'Iter(train) [ 25/100]', 's left', '━'):
        assert part in out.getvalue()

"""Showing the steps and estimating the time left."""

import io

import pytest

from mmgcp.study.progress import Display, plain_console
from mmgcp.study.step import Step


def make_step(folder, name='a', seconds=100.0, log=None):
    step = Step(name, 'transfer', [], folder / 'r', folder / name)
    step.expected_seconds = seconds
    step.meta['max_epochs'] = 10
    step.work_dir.mkdir(parents=True)
    if log is not None:
        step.log.write_text(log)
    return step


def test_time_left_is_learned_from_what_ran(tmp_path):
    steps = [make_step(tmp_path, f'a/{i}') for i in range(3)]
    steps.append(make_step(tmp_path, 'b', 7.0))
    display = Display(steps, jobs=2, console=plain_console(file=io.StringIO()))
    assert display.left() == (3 * 100 + 7) / 2
    display.set(steps[0], 'done', '', 40.0)
    assert display.left() == (2 * 40 + 7) / 2
    display.set(steps[1], 'running', '')
    display.set(steps[2], 'skipped', '')
    # What runs takes longer than everything divided by the jobs.
    assert display.left() == pytest.approx(40, abs=1)


def test_terminal_shows_each_step_and_the_time_left(tmp_path):
    out = io.StringIO()
    console = plain_console(file=out, force_terminal=True, width=90, height=20)
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

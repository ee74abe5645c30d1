"""How far a log says that a command is, and how long something took."""

import pytest

from mmgcp.utils.progress import format_seconds, read_progress

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
    log = tmp_path / 'log.txt'
    log.write_text(f'# 2026 $ python x\n{STAMP}{line}\n')
    assert read_progress(log, 10) == (fraction, line)


def test_log_without_output_is_starting(tmp_path):
    log = tmp_path / 'log.txt'
    assert read_progress(log) == (None, '')
    log.write_text('# 2026 $ python x\n')
    assert read_progress(log) == (None, 'starting')


def test_seconds_in_words():
    shown = [format_seconds(seconds) for seconds in (59.6, 125, 7320)]
    assert shown == ['60 s', '2 min 05 s', '2 h 02 min']

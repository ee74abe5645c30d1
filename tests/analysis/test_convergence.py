"""Curves read from logs, and when one meets another."""

import importlib.util
import json
from pathlib import Path

import pytest

from mmgcp.analysis.convergence import (
    area_under,
    convergence,
    matching_step,
    read_curves,
)
from mmgcp.analysis.sample import RunSpec

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis' / 'convergence.py'
CONFIG = "default_scope = 'mmseg'\ntrain_cfg = dict(type='IterBasedTrainLoop')\n"


def write_log(folder, values, time='20260101_000000', first=1, tail=''):
    path = folder / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    lines = []
    for step, value in enumerate(values, first):
        lines.append({'loss': 1.0, 'lr': 0.1, 'epoch': step, 'step': 10 * step})
        lines.append({'mIoU': value, 'time': 0.1, 'step': step})
    path.write_text('\n'.join(map(json.dumps, lines)) + '\n' + tail)
    return path


def test_area_is_the_mean_height():
    assert area_under([1, 2, 4], [0.0, 2.0, 4.0]) == pytest.approx((1 + 6) / 3)
    assert area_under([5], [3.0]) == 3.0


def test_matching_is_the_first_step_that_reaches():
    assert matching_step([1, 2, 3], [0.1, 0.5, 0.4], 0.4) == 2
    assert matching_step([1, 2, 3], [0.1, 0.5, 0.4], 0.6) is None


def test_a_resumed_run_is_one_curve(tmp_path):
    write_log(tmp_path, [1, 2, 9], tail='{"mIoU": 3')
    write_log(tmp_path, [3, 4], time='20260102_000000', first=3)
    curves = read_curves(tmp_path / 'iter_4.pth')
    assert curves == {'mIoU': {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}}


def test_seeds_and_matching_epochs(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG)
    curves = {
        'gap': [[2, 4, 6, 8], [4, 6, 8, 10]],
        'gcp': [[6, 8, 10, 12], [8, 10, 12, 14]],
    }
    specs = []
    for label, seeds in curves.items():
        for seed, values in enumerate(seeds):
            write_log(tmp_path / f'{label}{seed}', values)
            specs.append(RunSpec(str(config), str(tmp_path / f'{label}{seed}'), label))
    result = convergence(specs, tmp_path)
    gap, gcp = result['metrics']['mIoU']['gap'], result['metrics']['mIoU']['gcp']
    assert list(gap['mean']) == [3, 5, 7, 9]
    assert gap['std'] == pytest.approx([2**0.5] * 4)
    assert (gap['unit'], gap['number_of_seeds']) == ('iteration', 2)
    assert gap['area_under_curve'] == pytest.approx(6)
    # GCP's mean of 7, 9, ... reaches GAP's final 9 at the second of four steps.
    assert gcp['matching']['gap'] == {
        'target': 9.0,
        'step': 2,
        'per_seed': [2, 2],
    }
    assert gap['matching']['gcp']['step'] is None
    assert json.loads((tmp_path / 'convergence.json').read_text())['metrics']
    assert (tmp_path / 'convergence.png').stat().st_size > 1000


def test_the_tool_says_when_one_meets_the_other(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location('tool_convergence', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    config = tmp_path / 'config.py'
    config.write_text(CONFIG)
    words = []
    for label, values in {'gap': [1, 2, 3], 'gcp': [2, 3, 4]}.items():
        write_log(tmp_path / label, values)
        words += [config, tmp_path / label]
    out = tmp_path / 'out'
    tool.main([*map(str, words), '--labels', 'gap', 'gcp', '--out', str(out)])
    said = capsys.readouterr().out
    assert 'gcp: final 4, mean over training 3; reaches gap at 2' in said
    assert 'reaches gcp at None' in said

"""Evaluation with 1 and 2 processes, and where its time goes."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks import cli, testing
from benchmarks.report import table

ROOT = Path(__file__).parents[2]
SEGMENT = ROOT / 'configs/segmentation/fpn_r18-w16_scenes.py'


def test_every_moment_counts_for_one_part(monkeypatch):
    """Each look at the clock is a second later than the one before."""
    ticks = itertools.count()
    hook = testing.PartsHook()
    monkeypatch.setattr(hook, '_now', lambda: float(next(ticks)))

    class Head(nn.Module):
        def predict_by_feat(self):
            # Heads call each other's: that is still one second of one part.
            return 'boxes'

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.data_preprocessor = nn.Identity()
            self.head = Head()

        def test_step(self, batch):
            self.data_preprocessor(batch)
            return self.head.predict_by_feat()

    model = Model()
    evaluator = SimpleNamespace(process=lambda x: None, evaluate=lambda n: {})
    runner = SimpleNamespace(
        model=model, test_loop=SimpleNamespace(evaluator=evaluator)
    )
    hook.before_test_epoch(runner)  # 0: other, 1: data
    for index in range(2):
        hook.before_test_iter(runner, index)
        assert model.test_step(torch.zeros(1)) == 'boxes'
        evaluator.process(None)
        hook.after_test_iter(runner, index)
    evaluator.evaluate(2)
    hook.after_test_epoch(runner)
    assert sum(hook.seconds.values()) == next(ticks) - 1
    assert hook.seconds == {
        # Waiting before each batch and after the last, around the final metric;
        # the preprocessor.
        'data': 2 + 2 + 2,
        'model': 2 * 3,
        'post-processing': 2,
        'metric': 2 + 1,
        'other': 1 + 2 * 3 + 1,
    }


def row(**shares) -> dict:
    rest = dict.fromkeys(testing.PARTS, 0.1)
    return {
        'name': '1 process',
        'milliseconds': 5.0,
        'ratio': 1.0,
        'ratio_quartiles': [1.0, 1.0],
        'targets': {},
        'images_per_second': 3.0,
        'shares': {**rest, **shares},
    }


def test_data_is_not_the_bottleneck_in_silence():
    (line,) = testing._remarks([row(data=0.6)])
    assert '1 process: most time goes into data (60%)' in line
    assert 'num_workers' in line
    (line,) = testing._remarks([row(model=0.6)])
    assert line == '1 process: most time goes into model (60%)'
    assert table([row(metric=0.45)]).splitlines()[0].split()[-5:] == list(testing.PARTS)
    assert '45%' in table([row(metric=0.45)])


@pytest.mark.once
def test_one_and_two_processes(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmseg')
    pytest.importorskip('mmcv.ops')
    pytest.importorskip('sklearn')
    if torch.cuda.is_available():
        pytest.skip('process groups on a CPU')
    from mmengine.registry import MODELS, init_default_scope

    from mmgcp.datasets.scenes import ScenesSpec, make_scenes
    from mmgcp.utils.config import load_config

    spec = ScenesSpec(train=1, val=1, test=3, size=64, crops=1, eval_crops=1, digits=5)
    make_scenes(tmp_path / 'scenes', spec)
    monkeypatch.setenv('MMGCP_SCENES', str(tmp_path / 'scenes'))
    config = load_config(SEGMENT)
    init_default_scope('mmseg')
    model = MODELS.build(config.model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'model.pth')
    out = tmp_path / 'out.json'
    words = ['testing', str(SEGMENT), str(tmp_path / 'model.pth'), '--rounds', '1']
    words += ['--cfg-options', 'test_dataloader.batch_size=2']
    cli.main([*words, '--json', str(out), '--plot', str(tmp_path / 'out.png')])
    (group,) = json.loads(out.read_text())['groups']
    assert group['title'] == 'evaluation, fpn_r18-w16_scenes, 3 images'
    one, two = group['rows']
    assert (one['name'], two['name']) == ('1 process', '2 processes')
    assert one['ratio'] == 1
    for each in (one, two):
        assert each['images_per_second'] > 0
        assert sum(each['shares'].values()) == pytest.approx(1)
        assert min(each['shares'].values()) > 0
    shown = capsys.readouterr().out
    assert 'images/s' in shown
    assert 'post-processing' in shown
    assert 'most time goes into' in shown
    assert (tmp_path / 'out.png').stat().st_size > 1000


def test_wrong_pairs_are_refused(tmp_path):
    with pytest.raises(testing.UserError, match='pairs of config and checkpoint'):
        cli.main(['testing', str(SEGMENT)])
    with pytest.raises(testing.UserError, match=r'none\.pth: no such file'):
        cli.main(['testing', str(SEGMENT), str(tmp_path / 'none.pth')])

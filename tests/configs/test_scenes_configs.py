"""Every config on scenes trains a step and reaches its evaluator."""

import pytest
import torch
from zoo import CONFIGS, FOLDERS

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.engine.training import build_runner, load_config

EVERY = [p for name in FOLDERS for p in (CONFIGS / name).glob('*_scenes.py')]


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    spec = ScenesSpec(train=2, val=1, test=1, size=96, crops=1, eval_crops=1, digits=5)
    make_scenes(out, spec)
    return out


@pytest.mark.parametrize('path', sorted(EVERY), ids=lambda path: path.stem)
def test_trains_a_step(path, scenes, tmp_path, monkeypatch):
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    changes = {
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'train_dataloader.batch_size': 30 if path.parent.name == 'pretrain' else 2,
    }
    cfg = load_config(path, changes)
    cfg.work_dir, cfg.launcher = str(tmp_path), 'none'
    runner = build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    runner.train()
    assert runner.iter == 1
    after = dict(runner.model.named_parameters())
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert any(name.startswith('backbone.layer4') for name in moved)
    assert all(torch.isfinite(p).all() for p in after.values())
    assert any(key.startswith('val/') for key in runner.message_hub.log_scalars)


@pytest.mark.parametrize('name', ['isqrt', 'dropcov', 'gap-native'])
def test_pretraining_differs_from_gap_in_its_head_alone(name):
    gap = load_config(CONFIGS / 'pretrain/resnet18-w8-gap_scenes.py')
    other = load_config(CONFIGS / f'pretrain/resnet18-w8-{name}_scenes.py')
    assert other.model.backbone.last_stage == 'native'
    assert gap.model.backbone.last_stage == 'stride'
    for cfg in (gap, other):
        del cfg.model.neck, cfg.model.head.in_channels, cfg.model.backbone.last_stage
    assert gap.to_dict() == other.to_dict()

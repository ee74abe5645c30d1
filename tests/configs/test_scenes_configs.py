"""Every config on scenes trains a step and reaches its evaluator."""

from pathlib import Path

import pytest
import torch

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.engine import training as tools

CONFIGS = Path(__file__).parents[2] / 'configs'
EVERY = sorted(
    path
    for folder in ('pretrain', 'detection', 'segmentation')
    for path in (CONFIGS / folder).glob('*_scenes.py')
)


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    spec = ScenesSpec(train=2, val=1, test=1, size=96, crops=1, eval_crops=1, digits=5)
    make_scenes(out, spec)
    return out


def test_there_is_one_for_each_encoder_and_task():
    names = {path.stem for path in EVERY}
    assert names == {
        'resnet18-w16_gap_scenes',
        'resnet18-w16_isqrt_scenes',
        'resnet18-w16_dropcov_scenes',
        'faster-rcnn_r18-w16_fpn_scenes',
        'mask-rcnn_r18-w16_fpn_scenes',
        'r18-w16_upernet_scenes',
        'r18-w16_sem-fpn_scenes',
    }


@pytest.mark.parametrize('path', EVERY, ids=lambda path: path.stem)
def test_trains_a_step(path, scenes, tmp_path, monkeypatch):
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    size = 2 if path.parent.name != 'pretrain' else 30
    cfg = tools.load_config(
        path,
        {
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'train_dataloader.batch_size': size,
        },
    )
    cfg.work_dir, cfg.launcher = str(tmp_path), 'none'
    runner = tools.build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    runner.train()
    assert runner.iter == 1
    moved = [
        name
        for name, value in runner.model.named_parameters()
        if not torch.equal(value, before[name])
    ]
    assert any(name.startswith('backbone.layer4') for name in moved)
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    metrics = [key for key in runner.message_hub.log_scalars if key.startswith('val/')]
    assert metrics


@pytest.mark.parametrize('name', ['isqrt', 'dropcov'])
def test_pretraining_differs_from_gap_in_its_head_alone(name):
    gap = tools.load_config(CONFIGS / 'pretrain/resnet18-w16_gap_scenes.py')
    other = tools.load_config(CONFIGS / f'pretrain/resnet18-w16_{name}_scenes.py')
    assert other.model.backbone.last_stage == 'native'
    assert gap.model.backbone.last_stage == 'stride'
    for cfg in (gap, other):
        del cfg.model.neck, cfg.model.head.in_channels, cfg.model.backbone.last_stage
    assert gap.to_dict() == other.to_dict()

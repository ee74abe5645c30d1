"""FSDP through tools/train.py on two gloo processes, against DDP."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')
pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import launching
import torch
from mmengine.config import Config

from mmgcp.datasets import ScenesSpec, make_scenes
from mmgcp.utils import fsdp
from mmgcp.utils import runner as tools

ROOT = Path(__file__).parents[2]
DETECT = ROOT / 'configs/detection/mask-rcnn_r18-w16_fpn_scenes.py'
OPTIONS = [
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=2',
    'train_dataloader.batch_size=1',
    'default_hooks.logger.interval=1',
    # Steps in proportion to the gradient: AdamW would make much of rounding.
    'optim_wrapper.optimizer.type=SGD',
    # The first steps of the schedule take a hundredth of it.
    'optim_wrapper.optimizer.lr=2.0',
    'optim_wrapper.optimizer.momentum=0.9',
    # Below the norm, so that every step is clipped.
    'optim_wrapper.clip_grad.max_norm=1.0',
]


def can_shard() -> bool:
    try:
        fsdp.check_cpu_streams()
    except RuntimeError:
        return False
    return True


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    spec = ScenesSpec(train=2, val=1, test=3, size=96, crops=1, eval_crops=1, digits=5)
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    make_scenes(folder, spec)
    return folder


def train(work: Path, scenes: Path, *words: str) -> None:
    options = ['--work-dir', str(work), *words, '--cfg-options', *OPTIONS]
    done = launching.train(DETECT, scenes, *options)
    assert done.returncode == 0, done.stderr[-5000:]


def losses(work: Path) -> list[dict]:
    lines = [p.read_text() for p in sorted(work.glob('*/vis_data/scalars.json'))]
    records = map(json.loads, ''.join(lines).splitlines())
    keys = ('loss', 'loss_rpn_bbox', 'loss_mask', 'grad_norm')
    return [{k: r[k] for k in keys} for r in records if 'loss' in r]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def equal(found: dict, expected: dict, **tolerance) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **tolerance)


@pytest.mark.skipif(torch.cuda.is_available(), reason='process groups on a CPU')
@pytest.mark.skipif(not can_shard(), reason='FSDP on a CPU needs a newer torch')
def test_fsdp_takes_the_steps_of_ddp(scenes, tmp_path, monkeypatch):
    train(tmp_path / 'ddp', scenes)
    train(tmp_path / 'fsdp', scenes, '--override', 'fsdp')
    expected, found = losses(tmp_path / 'ddp'), losses(tmp_path / 'fsdp')
    assert len(expected) == 2
    assert all(step['grad_norm'] > 1 for step in expected)
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, rel=1e-5)
    # The weights move by 0.02 of the gradient: two steps in float32.
    ddp = weights(tmp_path / 'ddp/epoch_2.pth')
    equal(weights(tmp_path / 'fsdp/epoch_2.pth'), ddp, rtol=1e-5, atol=1e-6)
    start = weights(tmp_path / 'ddp/epoch_1.pth')
    moved = [float((ddp[k] - start[k]).abs().max()) for k in ddp if 'weight' in k]
    assert max(moved) > 1e-3

    # Gone on from the first epoch it is the run that was not interrupted.
    (tmp_path / 'again').mkdir()
    shutil.copy(tmp_path / 'fsdp/epoch_1.pth', tmp_path / 'again')
    first = str(tmp_path / 'again/epoch_1.pth')
    train(tmp_path / 'again', scenes, '--override', 'fsdp', '--resume', first)
    equal(
        weights(tmp_path / 'again/epoch_2.pth'),
        weights(tmp_path / 'fsdp/epoch_2.pth'),
        rtol=0,
        atol=0,
    )

    # One process tests the checkpoint, with the config of many and with the plain one.
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    checkpoint = str(tmp_path / 'fsdp/epoch_2.pth')
    sharded = {'runner_type': 'FlexibleRunner', 'strategy.type': 'mmgcp.FSDPStrategy'}
    metrics = [
        tools.evaluate(DETECT, checkpoint, str(tmp_path / 'test'), cfg_options=options)
        for options in ({}, sharded)
    ]
    assert 'coco/segm_mAP' in metrics[0]
    assert metrics[0] == metrics[1]


def test_a_torch_that_cannot_shard_on_a_cpu_says_so(monkeypatch):
    monkeypatch.setattr(torch.cpu, 'Stream', type('Stream', (), {}))
    with pytest.raises(RuntimeError, match='FSDP on a CPU: .*newer torch'):
        fsdp.check_cpu_streams()


@pytest.mark.parametrize(
    'config',
    [
        'detection/faster-rcnn_r50-gap_fpn_1x_coco',
        'detection/mask-rcnn_swin-t-gap_fpn_1x_coco',
        'segmentation/upernet_deit-s-cls_8xb2-160k_ade20k-512x512',
        'segmentation/upernet_sovit-s-cls_8xb2-160k_ade20k-512x512',
    ],
)
def test_encoders_are_sharded_block_by_block(config):
    from mmengine.registry import MODELS, init_default_scope

    pytest.importorskip('mmpretrain')
    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    init_default_scope(cfg.default_scope)
    backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': None})
    blocks = [m for m in backbone.modules() if type(m).__name__ in fsdp.UNITS]
    inside = sum(p.numel() for block in blocks for p in block.parameters())
    assert inside > 0.8 * sum(p.numel() for p in backbone.parameters())

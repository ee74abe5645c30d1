"""Detectors of mmdetection 1.x: names, and the place of the background class."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import CheckpointError

from .networks import randomize

pytest.importorskip('mmdet.models')

CONFIG = Path(__file__).parents[2] / 'configs/_base_/models/mask-rcnn_r50_fpn.py'
CLASSES, WIDTH = 3, 32
FC_CLS, FC_REG = 'bbox_head.fc_cls', 'bbox_head.fc_reg'


@pytest.fixture(scope='module')
def new():
    """Tensors of a detector of mmdet 3.x."""
    model = Config.fromfile(CONFIG).model
    model.backbone = dict(type='mmgcp.GCPResNet', depth=18, last_stage='stride')
    model.neck.update(in_channels=[64, 128, 256, 512], out_channels=WIDTH)
    model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
    heads = model.roi_head
    heads.bbox_head.update(in_channels=WIDTH, fc_out_channels=48)
    heads.mask_head.update(in_channels=WIDTH, conv_out_channels=24)
    heads.bbox_head.num_classes = heads.mask_head.num_classes = CLASSES
    with DefaultScope.overwrite_default_scope('mmdet'):
        return randomize(MODELS.build(model)).state_dict()


@pytest.fixture(scope='module')
def old(new):
    """The same detector in 1.x: no ``roi_head``, and class 0 is the background."""
    tensors = {name.removeprefix('roi_head.'): t for name, t in new.items()}
    for part in ('weight', 'bias'):
        scores = tensors[f'{FC_CLS}.{part}']
        tensors[f'{FC_CLS}.{part}'] = torch.cat([scores[-1:], scores[:-1]])
        for layer, rows in ((FC_REG, 4), ('mask_head.conv_logits', 1)):
            foreground = tensors[f'{layer}.{part}']
            background = torch.full_like(foreground[:rows], 9)
            tensors[f'{layer}.{part}'] = torch.cat([background, foreground])
    return tensors


def _save(path, tensors):
    config = 'img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5, 6], to_rgb=True)'
    meta = dict(mmdet_version='1.1.0', config=config, CLASSES=('a', 'b', 'c'))
    torch.save(dict(meta=meta, state_dict=tensors), path)
    return path


def test_the_new_detector_is_found_again(tmp_path, old, new):
    src = _save(tmp_path / 's.pth', old)
    result = convert_checkpoint(src, tmp_path / 'd.pth', to='detector')
    assert result.meta['layout'] == 'mmdet-1.x'
    assert result.meta['mean'] == '[1.0, 2.0, 3.0]'
    assert result.meta['box_coder'] == 'mmdet.LegacyDeltaXYWHBBoxCoder'
    assert len(result.report.changed) == 6
    found = torch.load(result.path, weights_only=True)['state_dict']
    assert found.keys() == new.keys()
    for name, tensor in new.items():
        assert torch.equal(found[name], tensor), name


def test_encoder_of_an_old_detector(tmp_path, old):
    src = _save(tmp_path / 's.pth', old)
    result = convert_checkpoint(src, tmp_path / 'e.pth')
    found = torch.load(result.path, weights_only=True)['state_dict']
    assert {f'backbone.{n}' for n in found} == {n for n in old if 'backbone' in n}
    assert result.meta['pooling_head'] == 'unknown'
    assert not result.report.changed
    with pytest.raises(CheckpointError, match='encoder or detector, not to a class'):
        convert_checkpoint(src, tmp_path / 'd.pth', to='classifier')


def _rows(tensors, layer, change):
    parts = (f'{layer}.weight', f'{layer}.bias')
    return tensors | {part: change(tensors[part]) for part in parts}


def test_box_deltas_for_all_classes_in_one_stay(tmp_path, old):
    tensors = _rows(old, FC_REG, lambda rows: rows[:4])
    src = _save(tmp_path / 's.pth', tensors)
    path = convert_checkpoint(src, tmp_path / 'd.pth', to='detector').path
    state = torch.load(path, weights_only=True)['state_dict']
    assert torch.equal(state[f'roi_head.{FC_REG}.weight'], tensors[f'{FC_REG}.weight'])


@pytest.mark.parametrize(
    ('spoil', 'named'),
    [
        # an RPN with softmax
        (
            lambda t: _rows(t, 'rpn_head.rpn_cls', lambda x: torch.cat([x, x])),
            r'rpn_head.rpn_cls.weight is \(6, .* expected \(3',
        ),
        (
            lambda t: _rows(t, FC_REG, lambda x: x[:7]),
            r'bbox_head.fc_reg.weight is \(7, 48\), expected \(12, 48\)',
        ),
        (
            lambda t: t | {'bbox_head.shared_convs.0.conv.weight': torch.ones(1)},
            'unexpected: roi_head.bbox_head.shared_convs.0.conv.weight',
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(tmp_path, old, spoil, named):
    src = _save(tmp_path / 's.pth', spoil(old))
    with pytest.raises(CheckpointError, match=named):
        convert_checkpoint(src, tmp_path / 'd.pth', to='detector')

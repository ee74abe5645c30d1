"""Detectors of mmdetection 1.x: names, and the place of the background class."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import CheckpointError

from .networks import GapResNet, randomize

pytest.importorskip('mmdet.models')

CONFIG = Path(__file__).parents[2] / 'configs/_base_/models/mask-rcnn_r50_fpn.py'
CLASSES, WIDTH, HIDDEN, MASK = 3, 32, 48, 24


class Conv(nn.Module):
    """A convolution one level down, as mmcv's ConvModule has it."""

    def __init__(self, inner, out, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inner, out, kernel, padding=kernel // 2)


class OldDetector(nn.Module):
    """Mask R-CNN with FPN under the names and in the class order of 1.x."""

    def __init__(self):
        super().__init__()
        self.backbone = GapResNet(18)
        del self.backbone.fc
        for part in ('neck', 'rpn_head', 'bbox_head', 'mask_head'):
            setattr(self, part, nn.Module())
        self.neck.lateral_convs = nn.ModuleList(
            Conv(64 * 2**i, WIDTH, 1) for i in range(4)
        )
        self.neck.fpn_convs = nn.ModuleList(Conv(WIDTH, WIDTH, 3) for _ in range(4))
        self.rpn_head.rpn_conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.rpn_head.rpn_cls = nn.Conv2d(WIDTH, 3, 1)
        self.rpn_head.rpn_reg = nn.Conv2d(WIDTH, 12, 1)
        self.bbox_head.shared_fcs = nn.ModuleList(
            [nn.Linear(WIDTH * 49, HIDDEN), nn.Linear(HIDDEN, HIDDEN)]
        )
        self.bbox_head.fc_cls = nn.Linear(HIDDEN, CLASSES + 1)
        self.bbox_head.fc_reg = nn.Linear(HIDDEN, 4 * (CLASSES + 1))
        self.mask_head.convs = nn.ModuleList(
            Conv(WIDTH if i == 0 else MASK, MASK, 3) for i in range(4)
        )
        self.mask_head.upsample = nn.ConvTranspose2d(MASK, MASK, 2, 2)
        self.mask_head.conv_logits = nn.Conv2d(MASK, CLASSES + 1, 1)

    def pyramid(self, images):
        laterals = zip(
            self.neck.lateral_convs, self.backbone.stages(images), strict=True
        )
        maps = [lateral.conv(x) for lateral, x in laterals]
        for i in (2, 1, 0):
            size = maps[i].shape[2:]
            maps[i] = maps[i] + nn.functional.interpolate(maps[i + 1], size)
        levels = [f.conv(m) for f, m in zip(self.neck.fpn_convs, maps, strict=True)]
        return [*levels, levels[-1][:, :, ::2, ::2]]

    def rpn(self, level):
        hidden = torch.relu(self.rpn_head.rpn_conv(level))
        return self.rpn_head.rpn_cls(hidden), self.rpn_head.rpn_reg(hidden)

    def boxes(self, crops):
        x = crops.flatten(1)
        for fc in self.bbox_head.shared_fcs:
            x = torch.relu(fc(x))
        return self.bbox_head.fc_cls(x), self.bbox_head.fc_reg(x)

    def masks(self, crops):
        for conv in self.mask_head.convs:
            crops = torch.relu(conv.conv(crops))
        crops = torch.relu(self.mask_head.upsample(crops))
        return self.mask_head.conv_logits(crops)


def _new_detector():
    model = Config.fromfile(CONFIG).model
    model.backbone = dict(type='mmgcp.GCPResNet', depth=18, last_stage='stride')
    model.neck.update(in_channels=[64, 128, 256, 512], out_channels=WIDTH)
    model.rpn_head.update(in_channels=WIDTH, feat_channels=WIDTH)
    heads = model.roi_head
    heads.bbox_head.update(in_channels=WIDTH, fc_out_channels=HIDDEN)
    heads.mask_head.update(in_channels=WIDTH, conv_out_channels=MASK)
    heads.bbox_head.num_classes = heads.mask_head.num_classes = CLASSES
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(model)


@pytest.fixture(scope='module')
def old():
    return randomize(OldDetector())


def _save(path, tensors):
    config = (
        'img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)'
    )
    meta = dict(mmdet_version='1.1.0', config=config, CLASSES=('a', 'b', 'c'))
    torch.save(dict(meta=meta, state_dict=tensors), path)
    return path


def test_every_output_is_that_of_the_old_detector(tmp_path, old):
    src = _save(tmp_path / 's.pth', old.state_dict())
    result = convert_checkpoint(src, tmp_path / 'd.pth', to='detector')
    assert result.meta['layout'] == 'mmdet-1.x'
    assert result.meta['mean'] == '[1.0, 2.0, 3.0]'
    assert result.meta['box_coder'] == 'mmdet.LegacyDeltaXYWHBBoxCoder'
    assert len(result.report.changed) == 6
    new = _new_detector()
    new.load_state_dict(
        torch.load(result.path, weights_only=True)['state_dict'], strict=True
    )
    new = new.double().eval()
    old = old.double()
    images = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    crops = torch.randn(5, WIDTH, 7, 7, dtype=torch.float64)
    close = {'rtol': 1e-9, 'atol': 1e-9}
    with torch.no_grad():
        levels, expected = new.extract_feat(images), old.pyramid(images)
        torch.testing.assert_close(list(levels), expected, **close)
        scores, deltas = new.rpn_head(levels)
        for i, level in enumerate(expected):
            torch.testing.assert_close((scores[i], deltas[i]), old.rpn(level), **close)
        scores, deltas = new.roi_head.bbox_head(crops)
        old_scores, old_deltas = old.boxes(crops)
        masks, old_masks = new.roi_head.mask_head(crops), old.masks(crops)
    old.float()
    torch.testing.assert_close(scores[:, -1], old_scores[:, 0], **close)
    torch.testing.assert_close(scores[:, :-1], old_scores[:, 1:], **close)
    torch.testing.assert_close(deltas, old_deltas[:, 4:], **close)
    torch.testing.assert_close(masks, old_masks[:, 1:], **close)


def test_encoder_of_an_old_detector(tmp_path, old):
    src = _save(tmp_path / 's.pth', old.state_dict())
    result = convert_checkpoint(src, tmp_path / 'e.pth')
    names = torch.load(result.path, weights_only=True)['state_dict']
    assert set(names) == set(old.backbone.state_dict())
    assert result.meta['pooling_head'] == 'unknown'
    assert not result.report.changed
    with pytest.raises(CheckpointError, match='encoder or detector, not to a class'):
        convert_checkpoint(src, tmp_path / 'd.pth', to='classifier')


def _rows(tensors, layer, change):
    parts = (f'{layer}.weight', f'{layer}.bias')
    return tensors | {part: change(tensors[part]) for part in parts}


def test_box_deltas_for_all_classes_in_one_stay(tmp_path, old):
    tensors = _rows(dict(old.state_dict()), 'bbox_head.fc_reg', lambda rows: rows[:4])
    src = _save(tmp_path / 's.pth', tensors)
    path = convert_checkpoint(src, tmp_path / 'd.pth', to='detector').path
    state = torch.load(path, weights_only=True)['state_dict']
    name = 'bbox_head.fc_reg.weight'
    assert torch.equal(state[f'roi_head.{name}'], tensors[name])


@pytest.mark.parametrize(
    ('spoil', 'named'),
    [
        # an RPN with softmax
        (
            lambda t: _rows(t, 'rpn_head.rpn_cls', lambda x: torch.cat([x, x])),
            r'rpn_head.rpn_cls.weight is \(6, .* expected \(3',
        ),
        (
            lambda t: _rows(t, 'bbox_head.fc_reg', lambda x: x[:7]),
            r'bbox_head.fc_reg.weight is \(7, 48\), expected \(12, 48\)',
        ),
        (
            lambda t: _rows(t, 'mask_head.conv_logits', lambda x: x[:2]),
            r'mask_head.conv_logits.weight is \(2, .* expected \(3',
        ),
        (
            lambda t: t | {'bbox_head.shared_convs.0.conv.weight': torch.ones(1)},
            'unexpected: roi_head.bbox_head.shared_convs.0.conv.weight',
        ),
        (
            lambda t: {k: v for k, v in t.items() if k != 'neck.fpn_convs.2.conv.bias'},
            '1 missing: neck.fpn_convs.2.conv.bias',
        ),
    ],
)
def test_what_cannot_be_mapped_is_refused(tmp_path, old, spoil, named):
    src = _save(tmp_path / 's.pth', spoil(dict(old.state_dict())))
    with pytest.raises(CheckpointError, match=named):
        convert_checkpoint(src, tmp_path / 'd.pth', to='detector')

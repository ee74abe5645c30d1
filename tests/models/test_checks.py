"""Wrong use of the modules tells the way out."""

from importlib import import_module

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS as ROOT
from mmengine.registry import DefaultScope

from mmgcp.models.checks import WiringError, check_wiring

BACKBONE = dict(
    type='mmgcp.GCPResNet',
    depth=18,
    last_stage='maxpool',
    base_channels=4,
    stem_channels=4,
    out_indices=(0, 1, 2, 3),
)
NORM = dict(type='BN', requires_grad=True)


def segmentor(in_channels, neck=None, **head):
    decode_head = dict(
        type='UPerHead',
        in_channels=in_channels,
        in_index=[0, 1, 2, 3],
        channels=8,
        num_classes=3,
        norm_cfg=NORM,
        align_corners=False,
        dropout_ratio=0.1,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False),
    )
    decode_head.update(head)
    return build(
        'mmseg',
        type='EncoderDecoder',
        backbone=BACKBONE,
        neck=neck,
        decode_head=decode_head,
        test_cfg=dict(mode='whole'),
    )


def detector(*necks):
    return build(
        'mmdet',
        type='SingleStageDetector',
        backbone=BACKBONE,
        neck=list(necks) if len(necks) > 1 else necks[0],
        bbox_head=dict(type='RetinaHead', num_classes=3, in_channels=8),
    )


def build(scope, **cfg):
    pytest.importorskip(f'{scope}.models')
    with DefaultScope.overwrite_default_scope(scope):
        return import_module(f'{scope}.registry').MODELS.build(ConfigDict(cfg))


def fpn(in_channels):
    return dict(type='FPN', in_channels=in_channels, out_channels=8, num_outs=5)


FITTING = [4, 8, 16, 32]
OTHER = [256, 512, 1024, 2048]


def test_neck_that_does_not_fit_in_a_detector_of_somebody_else():
    model = detector(fpn(OTHER))
    with pytest.raises(
        WiringError, match=r'neck\.in_channels=\[256.*set neck\.in_channels=\[4, 8, 16'
    ):
        model.init_weights()
    with pytest.raises(WiringError, match=r'neck\.in_channels=\[4, 8, 16\]'):
        detector(fpn(FITTING[:3])).init_weights()
    detector(fpn(FITTING)).init_weights()


def test_first_neck_of_a_chain():
    first = dict(type='mmgcp.SecondOrderAttention', in_channels=OTHER)
    with pytest.raises(WiringError, match=r'neck\[0\]\.in_channels'):
        detector(first, fpn(FITTING)).init_weights()


def test_decode_head_that_does_not_fit():
    with pytest.raises(WiringError, match=r'set decode_head\.in_channels=\[4, 8'):
        segmentor(OTHER).init_weights()
    segmentor(FITTING).init_weights()
    last = dict(type='FCNHead', in_index=3, norm_cfg=NORM)
    with pytest.raises(WiringError, match=r'set decode_head\.in_channels=32'):
        segmentor(2048, **last).init_weights()
    segmentor(32, **last).init_weights()
    with pytest.raises(WiringError, match='asks for more than the 4 levels'):
        segmentor(32, **{**last, 'in_index': 4}).init_weights()


def test_concatenated_levels():
    both = dict(
        type='FCNHead', in_index=[2, 3], input_transform='resize_concat', norm_cfg=NORM
    )
    segmentor([16, 32], **both).init_weights()
    with pytest.raises(WiringError):
        segmentor([16, 33], **both).init_weights()


def test_a_neck_between_hides_the_encoder_from_the_heads():
    model = segmentor([8] * 4, neck=fpn(FITTING) | dict(num_outs=4))
    check_wiring(model)
    model.init_weights()


def test_other_encoders_are_left_alone():
    model = detector(fpn(OTHER))
    model.backbone = torch.nn.Conv2d(3, 3, 1)
    check_wiring(model)


def test_default_scope_of_our_own():
    with (
        DefaultScope.overwrite_default_scope('mmgcp'),
        pytest.raises(KeyError, match="default_scope='mmgcp' hides.*'mmdet'"),
    ):
        ROOT.build(dict(type='FasterRCNN'))

"""Channels of an encoder beside those of necks and heads."""

from importlib import import_module

import pytest
from mmengine.registry import DefaultScope
from torch import nn

from mmgcp.engine.wiring import WiringError, check_wiring
from mmgcp.registry import MODELS
from mmgcp.utils.errors import UserError

FITTING = [4, 8, 16, 32]
OTHER = [256, 512, 1024, 2048]


def build(scope, **cfg):
    pytest.importorskip(f'{scope}.models')
    with DefaultScope.overwrite_default_scope(scope):
        return import_module(f'{scope}.registry').MODELS.build(cfg)


class Model(nn.Module):
    """The parts of a detector or segmentor."""

    def __init__(self, **parts):
        super().__init__()
        self.backbone = build(
            'mmdet',
            type='mmgcp.GCPResNet',
            depth=18,
            last_stage='maxpool',
            base_channels=4,
            stem_channels=4,
            out_indices=(0, 1, 2, 3),
        )
        for name, part in parts.items():
            self.add_module(name, part)


def fpn(in_channels):
    return build(
        'mmdet', type='FPN', in_channels=in_channels, out_channels=8, num_outs=5
    )


def head(kind='UPerHead', **kwargs):
    cfg = dict(type=kind, in_index=[0, 1, 2, 3], channels=8, num_classes=3)
    return build('mmseg', **{**cfg, 'norm_cfg': dict(type='BN'), **kwargs})


def test_necks():
    check_wiring(Model(neck=fpn(FITTING)))
    with pytest.raises(
        WiringError, match=r'neck\.in_channels=\[256.*set neck\.in_channels=\[4, 8, 16'
    ) as info:
        check_wiring(Model(neck=fpn(OTHER)))
    assert isinstance(info.value, UserError)
    for other in (FITTING[:3], FITTING[::-1]):
        with pytest.raises(
            WiringError, match=r'set neck\.in_channels=\[4, 8, 16, 32\]'
        ):
            check_wiring(Model(neck=fpn(other)))


def test_the_neck_of_a_classifier():
    cfg = dict(type='mmgcp.GlobalCovariancePooling', reduced_channels=8)
    check_wiring(Model(neck=MODELS.build(dict(cfg, in_channels=32))))
    with pytest.raises(WiringError, match=r'set neck\.in_channels=32'):
        check_wiring(Model(neck=MODELS.build(dict(cfg, in_channels=2048))))


COVARIANCE = dict(
    type='mmgcp.GlobalCovariancePooling', in_channels=32, reduced_channels=8
)


@pytest.mark.parametrize(
    ('neck', 'width'), [(dict(type='GlobalAveragePooling'), 32), (COVARIANCE, 36)]
)
def test_the_classifier_behind_a_neck(neck, width):
    def model(channels):
        linear = dict(type='LinearClsHead', num_classes=3, in_channels=channels)
        parts = dict(neck=neck, head=linear)
        return Model(
            **{name: build('mmpretrain', **cfg) for name, cfg in parts.items()}
        )

    check_wiring(model(width))
    with pytest.raises(WiringError, match=f'99, but the neck returns {width}: set'):
        check_wiring(model(99))


def test_the_first_neck_of_a_chain():
    cfg = dict(type='mmgcp.SecondOrderAttention')
    first = MODELS.build(dict(cfg, in_channels=FITTING))
    check_wiring(Model(neck=nn.Sequential(first, fpn(FITTING))))
    first = MODELS.build(dict(cfg, in_channels=OTHER))
    with pytest.raises(WiringError, match=r'neck\[0\]\.in_channels'):
        check_wiring(Model(neck=nn.Sequential(first, fpn(FITTING))))


def test_decode_heads():
    check_wiring(Model(decode_head=head(in_channels=FITTING)))
    with pytest.raises(WiringError, match=r'set decode_head\.in_channels=\[4, 8'):
        check_wiring(Model(decode_head=head(in_channels=OTHER)))
    last = head('FCNHead', in_index=3, in_channels=32)
    check_wiring(Model(decode_head=last))
    wrong = Model(
        auxiliary_head=nn.ModuleList(
            [last, head('FCNHead', in_index=3, in_channels=2048)]
        )
    )
    with pytest.raises(WiringError, match=r'set auxiliary_head\[1\]\.in_channels=32'):
        check_wiring(wrong)
    wrong = Model(decode_head=head('FCNHead', in_index=4, in_channels=32))
    with pytest.raises(WiringError, match='asks for more than the 4 levels'):
        check_wiring(wrong)


def test_concatenated_levels():
    both = dict(kind='FCNHead', in_index=[2, 3], input_transform='resize_concat')
    check_wiring(Model(decode_head=head(**both, in_channels=[16, 32])))
    with pytest.raises(WiringError, match=r'set decode_head\.in_channels=\[16, 32\]'):
        check_wiring(Model(decode_head=head(**both, in_channels=[16, 33])))


def test_a_neck_between_hides_the_encoder_from_the_heads():
    check_wiring(Model(neck=fpn(FITTING), decode_head=head(in_channels=[8] * 4)))


def test_other_encoders_pass():
    other = Model(neck=fpn(OTHER))
    other.backbone = nn.Conv2d(3, 3, 1)
    check_wiring(other)

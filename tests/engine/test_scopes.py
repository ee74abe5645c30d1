"""Types without their scope are told with the way out."""

import pytest
import torch
from mmengine.registry import MODELS as ROOT

from mmgcp.engine.scopes import UnscopedTypeError, check_types

BACKBONE = dict(type='mmgcp.GCPResNet', depth=18, last_stage='stride')


def test_types_without_scope():
    cfg = dict(default_scope='mmdet', model=dict(type='X', backbone=dict(BACKBONE)))
    check_types(cfg)
    cfg['model']['backbone']['type'] = 'GCPResNet'
    with pytest.raises(
        UnscopedTypeError, match=r"backbone\.type='GCPResNet'.*'mmgcp\.GCPRes"
    ):
        check_types(cfg)
    cfg['model']['backbone'] = dict(
        BACKBONE, init_cfg=[dict(type='PretrainedEncoder', checkpoint='x')]
    )
    with pytest.raises(
        UnscopedTypeError, match=r"init_cfg\[0\]\.type='PretrainedEncoder'"
    ):
        check_types(cfg)


def test_types_whose_scope_is_implied_or_that_others_have(monkeypatch):
    neck = dict(
        type='mmgcp.GlobalCovariancePooling',
        normalization=dict(type='NewtonSchulz'),
        dropout=dict(type='DropCov'),
    )
    check_types(dict(default_scope='mmpretrain', model=dict(neck=neck)))
    cfg = dict(default_scope='mmdet', model=dict(norm=dict(type='ScaleNorm')))
    with pytest.raises(UnscopedTypeError, match=r'mmgcp\.ScaleNorm'):
        check_types(cfg)
    monkeypatch.setitem(ROOT._module_dict, 'ScaleNorm', torch.nn.Identity)
    check_types(cfg)

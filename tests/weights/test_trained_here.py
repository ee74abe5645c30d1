"""Our own checkpoints: exported with what their config says, heads left out."""

import json

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from mmgcp.weights import (
    CheckpointError,
    KeyMismatchError,
    convert_checkpoint,
    export_encoder,
)
from mmgcp.weights.config_text import read_setting

from .networks import GapResNet, randomise

CONFIG = """
data_preprocessor = dict(num_classes=10)
model = dict(
    backbone=dict(type='mmgcp.GCPResNet', depth=18, last_stage='native'),
    data_preprocessor=dict(mean=[1.0, 2, 3.5], std=[-4.0, 5.0, 6.0], to_rgb=True),
    neck=dict(
        type='mmgcp.GlobalCovariancePooling',
        normalization={NORM}))
"""
ISQRT = "dict(type='NewtonSchulz', iterations=5)"


@pytest.fixture(scope='module')
def backbone():
    net = randomise(GapResNet(18))
    del net.fc
    return {f'backbone.{k}': v for k, v in net.state_dict().items()}


def _pooling(dim=8, dropcov=False):
    reduction = nn.Module()
    reduction.conv = nn.Conv2d(512, dim, 1, bias=False)
    reduction.bn = nn.BatchNorm2d(dim)
    parts = {f'neck.reduction.{k}': v for k, v in reduction.state_dict().items()}
    fc = nn.Linear(dim * (dim + 1) // 2, 10)
    parts |= {f'head.fc.{k}': v for k, v in fc.state_dict().items()}
    if dropcov:
        parts['neck.dropout.importance.weight'] = torch.randn(1, 1, 3)
    return parts


def _checkpoint(path, tensors, config):
    """What mmengine's CheckpointHook writes."""
    hub = MessageHub.get_instance('trained-here')
    hub.update_scalar('train/loss', 1.5)
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    optimizer.step()
    meta = dict(
        cfg=config, epoch=3, seed=np.int64(0), dataset_meta=dict(classes=('a',))
    )
    torch.save(
        dict(
            meta=meta,
            state_dict=tensors,
            message_hub=hub.state_dict(),
            optimizer=optimizer.state_dict(),
        ),
        path,
    )
    return path


@pytest.mark.parametrize(
    ('norm', 'dropcov', 'head'),
    [
        (ISQRT, False, 'isqrt'),
        ("dict(type='mmgcp.MatrixPower', alpha=0.5)", False, 'mpn'),
        ("dict(type='svPN')", False, 'svpn'),
        ('None', True, 'dropcov'),
        ('None', False, 'gcp'),
    ],
)
def test_export_knows_head_and_input_from_the_config(
    tmp_path, backbone, norm, dropcov, head
):
    config = CONFIG.replace('{NORM}', norm)
    tensors = backbone | _pooling(dropcov=dropcov)
    src = _checkpoint(tmp_path / 's.pth', tensors, config)
    before = src.read_bytes()
    path = export_encoder(src, tmp_path / 'e.pth')
    content = torch.load(path, weights_only=True)
    meta = content['meta']
    assert meta['pooling_head'] == head
    assert meta['covariance_channels'] == '8'
    assert json.loads(meta['mean']) == [1.0, 2, 3.5]
    assert json.loads(meta['std']) == [-4.0, 5.0, 6.0]
    assert json.loads(meta['to_rgb']) is True
    assert meta['last_stage'] == 'native'
    assert all(isinstance(value, str) for value in meta.values())
    assert content['state_dict'].keys() == {k[9:] for k in backbone}
    for name, tensor in content['state_dict'].items():
        assert torch.equal(tensor, backbone[f'backbone.{name}'])
    assert src.read_bytes() == before


def test_gap_and_a_config_that_is_code(tmp_path, backbone):
    fc = {f'head.fc.{k}': v for k, v in nn.Linear(512, 10).state_dict().items()}
    config = 'import os\nmodel = os.getcwd()\ndata_preprocessor = dict(mean=f())'
    src = _checkpoint(tmp_path / 's.pth', backbone | fc, config)
    result = convert_checkpoint(src, tmp_path / 'e.pth', hash_name=True)
    assert result.meta['pooling_head'] == 'gap'
    assert 'mean' not in result.meta
    assert result.path.name == f'e-{result.meta["sha256"][:8]}.pth'
    assert result.report.dropped == {
        'pooling head and classifier, not part of the encoder': [
            'head.fc.weight',
            'head.fc.bias',
        ]
    }
    assert len(result.report.taken) == len(backbone)


@pytest.mark.parametrize(
    ('rest', 'layout'),
    [
        (('neck.x', 'rpn_head.x', 'roi_head.bbox_head.fc_cls.weight'), 'mmdet'),
        (('neck.x', 'bbox_head.retina_cls.weight'), 'mmdet'),
        (('decode_head.conv_seg.weight', 'auxiliary_head.convs.x'), 'mmseg'),
    ],
)
def test_encoder_of_a_detector_or_segmenter(tmp_path, backbone, rest, layout):
    tensors = backbone | {name: torch.ones(1) for name in rest}
    src = _checkpoint(tmp_path / 's.pth', tensors, '')
    result = convert_checkpoint(src, tmp_path / 'e.pth')
    assert result.meta['layout'] == layout
    assert result.meta['pooling_head'] == 'unknown'
    assert sorted(sum(result.report.dropped.values(), [])) == sorted(rest)
    with pytest.raises(CheckpointError, match='not to a classifier'):
        convert_checkpoint(src, tmp_path / 'c.pth', to='classifier')


def test_spoiled_checkpoints_of_ours(tmp_path, backbone):
    tensors = dict(backbone)
    tensors['backbone.layer9.weight'] = tensors.pop('backbone.layer1.0.bn1.bias')
    src = _checkpoint(tmp_path / 's.pth', tensors, '')
    named = 'missing: backbone.layer1.0.bn1.bias; 1 unexpected: backbone.layer9.weight'
    with pytest.raises(KeyMismatchError, match=named):
        export_encoder(src, tmp_path / 'e.pth')
    src = _checkpoint(tmp_path / 's.pth', backbone | {'ema.x': torch.ones(1)}, '')
    with pytest.raises(KeyMismatchError, match='unexpected: ema.x'):
        export_encoder(src, tmp_path / 'e.pth')


def test_the_source_is_never_the_target(tmp_path, backbone):
    src = _checkpoint(tmp_path / 's.pth', backbone, '')
    link = tmp_path / 'link.pth'
    link.symlink_to(src)
    for dst in (src, link):
        with pytest.raises(CheckpointError, match='source itself'):
            export_encoder(src, dst)


def test_settings_are_read_but_not_run(tmp_path):
    text = 'a = dict(x=[1, -2.5], y={"k": (True, None)})\nb = dict(**a)\nc = print(1)'
    assert read_setting(text, 'a') == {'x': [1, -2.5], 'y': {'k': (True, None)}}
    assert read_setting(text, 'b') is None
    assert read_setting(text, 'c') is None
    assert read_setting(text, 'absent') is None
    assert read_setting('a = (', 'a') is None

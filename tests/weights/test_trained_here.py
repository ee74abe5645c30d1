"""Our own checkpoints: exported with what their config says, heads left out."""

import json

import pytest
import torch
from torch import nn

from mmgcp.models import GlobalCovariancePooling
from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import CheckpointError, KeyMismatchError
from mmgcp.weights.metadata import read_setting

from .networks import GapResNet, randomize

CONFIG = """
data_preprocessor = dict(num_classes=10)
model = dict(
    backbone=dict(type='mmgcp.GCPResNet', depth=18, last_stage='native'),
    data_preprocessor=dict(mean=[1.0, 2, 3.5], std=[-4.0, 5.0, 6.0], to_rgb=True),
    neck=dict(
        type='mmgcp.GlobalCovariancePooling',
        normalization={NORM}))
"""


@pytest.fixture(scope='module')
def backbone():
    net = randomize(GapResNet(18))
    del net.fc
    return {f'backbone.{k}': v for k, v in net.state_dict().items()}


def _pooling(dropcov):
    dropout = dict(type='DropCov') if dropcov else None
    neck = GlobalCovariancePooling(512, 8, dropout=dropout)
    parts = {f'neck.{k}': v for k, v in neck.state_dict().items()}
    return parts | {
        'head.fc.weight': torch.ones(10, 36),
        'head.fc.bias': torch.ones(10),
    }


def _save(path, tensors, config=''):
    torch.save(dict(meta=dict(cfg=config, epoch=3), state_dict=tensors), path)
    return path


@pytest.mark.parametrize(
    ('norm', 'dropcov', 'head'),
    [
        ("dict(type='NewtonSchulz', iterations=5)", False, 'isqrt'),
        ("dict(type='mmgcp.MatrixPower', alpha=0.5)", False, 'mpn'),
        ("dict(type='svPN')", False, 'svpn'),
        ('None', True, 'dropcov'),
        ('None', False, 'gcp'),
    ],
)
def test_encoder_knows_head_and_input_from_the_config(
    tmp_path, backbone, norm, dropcov, head
):
    tensors = backbone | _pooling(dropcov)
    src = _save(tmp_path / 's.pth', tensors, CONFIG.replace('{NORM}', norm))
    before = src.read_bytes()
    path = convert_checkpoint(src, tmp_path / 'e.pth').path
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
    src = _save(tmp_path / 's.pth', backbone | fc, config)
    result = convert_checkpoint(src, tmp_path / 'e.pth', hash_name=True)
    assert result.meta['pooling_head'] == 'gap'
    assert 'mean' not in result.meta
    assert result.path.name == f'e-{result.sha256[:8]}.pth'
    assert result.report.dropped == list(fc)
    assert len(result.report.kept) == len(backbone)
    assert result.report.renamed == {}


@pytest.mark.parametrize(
    ('rest', 'layout'),
    [
        (('neck.x', 'rpn_head.x', 'roi_head.bbox_head.fc_cls.weight'), 'mmdet'),
        # DINO
        (('encoder.x', 'level_embed', 'bbox_head.reg_branches.0.0.bias'), 'mmdet'),
        (('decode_head.conv_seg.weight', 'auxiliary_head.convs.x'), 'mmseg'),
    ],
)
def test_encoder_of_a_detector_or_segmentor(tmp_path, backbone, rest, layout):
    tensors = backbone | {name: torch.ones(1) for name in rest}
    src = _save(tmp_path / 's.pth', tensors)
    result = convert_checkpoint(src, tmp_path / 'e.pth')
    assert result.meta['layout'] == layout
    assert result.meta['pooling_head'] == 'unknown'
    assert result.report.dropped == list(rest)
    with pytest.raises(CheckpointError, match='not to a classifier'):
        convert_checkpoint(src, tmp_path / 'c.pth', to='classifier')


def test_spoiled_checkpoints_of_ours(tmp_path, backbone):
    src = _save(tmp_path / 's.pth', backbone | {'ema.x': torch.ones(1)})
    with pytest.raises(KeyMismatchError, match='unexpected: ema.x'):
        convert_checkpoint(src, tmp_path / 'e.pth')
    (tmp_path / 'link.pth').symlink_to(src)
    with pytest.raises(CheckpointError, match='source itself'):
        convert_checkpoint(src, tmp_path / 'link.pth')


def test_settings_are_read_but_not_run():
    text = 'a = dict(x=[1, -2.5], y={"k": (True, None)})\nb = dict(**a)\nc = print(1)'
    assert read_setting(text, 'a') == {'x': [1, -2.5], 'y': {'k': (True, None)}}
    assert read_setting(text, 'b') is None
    assert read_setting(text, 'c') is None
    assert read_setting('a = (', 'a') is None

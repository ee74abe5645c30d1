"""Transformers of DropCov and So-ViT, with and without averaged weights."""

import argparse

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmgcp.weights.architectures import token_heads
from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import CheckpointError

from .networks import randomize
from .token_networks import TokenNet

pytest.importorskip('mmpretrain.models')

TINY = dict(dim=240, depth=12, heads=4, hidden=600, pool_heads=6, pool_dims=14)


def _model(encoder=None):
    init_cfg = encoder and dict(type='mmgcp.PretrainedEncoder', checkpoint=str(encoder))
    backbone = dict(type='mmgcp.SoViT', arch='deit-tiny', img_size=64)
    neck = dict(type='mmgcp.MultiHeadCrossCovariancePooling', num_heads=6, head_dims=14)
    head = dict(type='mmgcp.TokenFusionHead', num_classes=10, in_channels=240)
    cfg = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(backbone, init_cfg=init_cfg),
        neck=dict(neck, in_channels=240),
        head=dict(head, second_order_channels=1176),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


def _timm_file(path, weights, averaged):
    content = dict(epoch=1, args=argparse.Namespace(lr=1e-3), state_dict=weights)
    torch.save(dict(content, state_dict_ema=averaged), path)


@pytest.mark.usefixtures('device')
@pytest.mark.parametrize(('groups', 'head'), [(3, 'dropcov'), (2, 'mgcrp')])
def test_tokens_and_logits_are_those_of_the_source(tmp_path, groups, head):
    source = randomize(TokenNet(**TINY, groups=groups))
    src = tmp_path / 'src.pth'
    noise = {k: torch.randn(v.shape) for k, v in source.state_dict().items()}
    _timm_file(src, noise, source.state_dict())
    encoder = convert_checkpoint(src, tmp_path / 'e.pth', ema=True)
    whole = convert_checkpoint(src, tmp_path / 'c.pth', to='classifier', ema=True)
    assert encoder.meta['architecture'] == 'deit-tiny'
    assert encoder.meta['pooling_head'] == whole.meta['pooling_head'] == head
    assert len(whole.report.changed) == (groups == 3)
    model, tuned = _model(), _model(encoder.path)
    state = torch.load(whole.path, weights_only=True)['state_dict']
    model.load_state_dict(state, strict=True)
    tuned.init_weights()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    model, tuned, source = (m.double().eval() for m in (model, tuned, source))
    close = dict(rtol=1e-9, atol=1e-9)
    with torch.no_grad():
        tokens, logits = source(images)
        ours = model.backbone(images)
        torch.testing.assert_close(ours[-1], tokens, **close)
        torch.testing.assert_close(tuned.backbone(images)[-1], tokens, **close)
        found = model.head(model.neck(ours))
    assert logits.std() > 1e-2
    torch.testing.assert_close(found, logits, **close)


def test_averaged_weights_only_when_asked(tmp_path):
    tiny = TokenNet(**TINY, groups=3).state_dict()
    averaged = {k: torch.randn(v.shape) for k, v in tiny.items()}
    src = tmp_path / 's.pth'
    _timm_file(src, tiny, averaged)
    for ema, expected in ((False, tiny), (True, averaged)):
        path = convert_checkpoint(src, tmp_path / f'{ema}.pth', ema=ema).path
        found = torch.load(path, weights_only=True)['state_dict']
        assert torch.equal(found['norm.weight'], expected['norm.weight'])
    torch.save(tiny, src)
    with pytest.raises(CheckpointError, match='--ema'):
        convert_checkpoint(src, tmp_path / 'q.pth', ema=True)


@pytest.mark.parametrize(
    ('heads', 'dims', 'groups'),
    [(6, 14, 3), (6, 24, 3), (12, 24, 3), (6, 14, 2), (6, 24, 2), (6, 38, 2)],
)
def test_published_heads_are_recognized(heads, dims, groups):
    assert token_heads(heads * dims**2, groups * heads * dims) == (heads, dims)


WR = 'classifier.representation.wr.weight'
QKV = 'blocks.0.attn.qkv.weight'


@pytest.mark.parametrize(
    ('spoil', 'named'),
    [
        (
            lambda t: {k: v for k, v in t.items() if not k.startswith('blocks.11.')},
            '11 blocks of width 240',
        ),
        (lambda t: t | {QKV: t[QKV].T}, r'blocks.0.attn.qkv.weight is \(240, 720\)'),
        (
            lambda t: t | {'classifier.concat_fc.weight': t['norm.weight']},
            'unexpected: classifier.concat_fc.weight',
        ),
        (lambda t: t | {WR: t[WR][:100]}, 'a projection to 100 values'),
    ],
)
def test_spoiled_files_are_refused_by_name(tmp_path, spoil, named):
    tiny = TokenNet(**TINY, groups=3).state_dict()
    torch.save(spoil(dict(tiny)), tmp_path / 's.pth')
    with pytest.raises(CheckpointError, match=named):
        convert_checkpoint(tmp_path / 's.pth', tmp_path / 'd.pth', to='classifier')

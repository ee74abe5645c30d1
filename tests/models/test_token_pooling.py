"""Multi-head cross-covariance pooling and the token head."""

import numpy as np
import pytest
import torch

from mmgcp.registry import MODELS


def neck(**kwargs):
    torch.manual_seed(1)
    cfg = dict(type='mmgcp.MultiHeadCrossCovariancePooling', in_channels=12)
    return MODELS.build({**cfg, 'num_heads': 2, 'head_dims': 3, **kwargs}).double()


TOKENS = torch.randn(
    2, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
)


def reference(net, tokens, official):
    """The vectors, entry by entry."""
    projected = (tokens @ net.wr.weight.T).detach().numpy()
    vectors = []
    for sample in projected:
        entries = []
        for head in range(2):
            query = sample[:, 3 * head : 3 * head + 3]
            key = sample[:, 6 + 3 * head : 9 + 3 * head]
            axis = None if official else 0
            query = query - query.mean(axis=axis)
            key = key - key.mean(axis=axis)
            for i in range(3):
                for j in range(3):
                    total = sum(query[n, i] * key[n, j] for n in range(len(query)))
                    entries.append(total / len(query))
        vectors.append(entries)
    return np.array(vectors)


@pytest.mark.parametrize('official', [True, False])
def test_against_loops(official):
    net = neck(official=official).eval()
    cls_token, vector = net((TOKENS,))
    assert torch.equal(cls_token, TOKENS[:, 0])
    assert vector.shape == (2, net.out_channels) == (2, 18)
    expected = reference(net, TOKENS[:, 1:], official)
    np.testing.assert_allclose(vector.detach().numpy(), expected, atol=1e-12)


def test_all_tokens_for_aggre_all():
    net = neck(pool_cls_token=True).eval()
    expected = reference(net, TOKENS, True)
    np.testing.assert_allclose(net((TOKENS,))[1].detach().numpy(), expected, atol=1e-12)


def test_maps_have_no_class_token():
    net = neck().eval()
    maps = TOKENS.transpose(1, 2).reshape(2, 12, 4, 2)
    cls_token, vector = net((torch.zeros(1), maps))
    torch.testing.assert_close(cls_token, TOKENS.mean(1))
    expected = reference(net, TOKENS, True)
    np.testing.assert_allclose(vector.detach().numpy(), expected, atol=1e-12)


class Unit(torch.nn.Module):
    """Projection to ones, which shows the mask that is multiplied in."""

    def forward(self, x):
        return x.new_ones(*x.shape[:2], 12)


@pytest.mark.parametrize('official', [True, False])
def test_what_is_dropped(official, monkeypatch):
    from mmgcp.models.necks import cross_covariance_pooling as module

    net = neck(official=official, drop_rate=0.4, element_drop_rate=0).train()
    net.wr = Unit()
    seen = []
    original = module.multi_head_cross_covariance

    def spy(query, key, centre):
        seen.append((query, key, centre))
        return original(query, key, centre)

    monkeypatch.setattr(module, 'multi_head_cross_covariance', spy)
    net((torch.randn(64, 8, 12, dtype=torch.float64),))
    ((query, key, centre),) = seen
    assert centre == ('scalar' if official else 'channel')
    assert torch.equal(query, key)  # one mask for both
    kept = query != 0
    torch.testing.assert_close(query[kept], torch.full_like(query[kept], 1 / 0.6))
    whole = kept if official else kept.transpose(2, 3)
    # Whole tokens with the released code, whole channels otherwise.
    assert torch.equal(whole, whole[..., :1].expand_as(whole))
    draws = whole[..., 0].double()
    assert abs(draws.mean() - 0.6) < 4 * (0.24 / draws.numel()) ** 0.5


@pytest.mark.parametrize('kind', ['svPN', 'ScaleNorm', 'LayerNorm', 'ElementwisePower'])
def test_normalizations_of_matrices_that_are_not_symmetric(kind):
    net = neck(normalization=dict(type=kind)).train()
    (_, vector) = net((TOKENS,))
    vector.square().sum().backward()
    assert torch.isfinite(net.wr.weight.grad).all()
    assert net.wr.weight.grad.abs().sum() > 0


def test_tokens_that_are_missing():
    with pytest.raises(ValueError, match=r"out_type='raw'"):
        neck()((torch.zeros(2, 12),))


FUSIONS = dict(
    sum_fc={'cls_fc.weight', 'cls_fc.bias', 'visual_fc.weight', 'visual_fc.bias'},
    concat={'fc.weight', 'fc.bias'},
    aggre_all={'fc.weight', 'fc.bias'},
)


@pytest.mark.parametrize('fusion', list(FUSIONS))
def test_head(fusion):
    pytest.importorskip('mmpretrain.models')
    cfg = dict(type='mmgcp.TokenFusionHead', num_classes=5, in_channels=12)
    head = MODELS.build(dict(cfg, second_order_channels=18, fusion=fusion))
    assert set(head.state_dict()) == FUSIONS[fusion]
    cls_token, vector = torch.randn(2, 12), torch.randn(2, 18)
    logits = head((cls_token, vector))
    if fusion == 'sum_fc':
        expected = cls_token @ head.cls_fc.weight.T + head.cls_fc.bias
        expected = expected + vector @ head.visual_fc.weight.T + head.visual_fc.bias
    else:
        x = vector if fusion == 'aggre_all' else torch.cat([cls_token, vector], 1)
        expected = x @ head.fc.weight.T + head.fc.bias
    torch.testing.assert_close(logits, expected)
    with pytest.raises(ValueError, match='sum_fc, concat, aggre_all'):
        MODELS.build(dict(cfg, second_order_channels=18, fusion='sum'))


BACKBONES = {
    'SoViT': dict(
        type='mmgcp.SoViT',
        arch=dict(embed_dims=12, num_layers=2, num_heads=2, mlp_ratio=2),
        img_size=32,
    ),
    'DeiT': dict(
        type='VisionTransformer',
        arch=dict(embed_dims=12, num_layers=2, num_heads=2, feedforward_channels=24),
        img_size=32,
        patch_size=16,
        out_type='raw',
    ),
    'Swin': dict(
        type='SwinTransformer',
        arch=dict(embed_dims=3, depths=[1, 1, 1], num_heads=[1, 1, 1]),
        img_size=32,
        window_size=2,
        out_indices=(2,),
    ),
}


@pytest.mark.parametrize('backbone', list(BACKBONES))
def test_a_classifier_trains(backbone, in_scope):
    pytest.importorskip('mmpretrain.models')
    from mmpretrain.registry import MODELS as MMPRETRAIN
    from mmpretrain.structures import DataSample

    with in_scope('mmpretrain'):
        model = MMPRETRAIN.build(
            dict(
                type='ImageClassifier',
                backbone=BACKBONES[backbone],
                neck=dict(
                    type='mmgcp.MultiHeadCrossCovariancePooling',
                    in_channels=12,
                    num_heads=2,
                    head_dims=3,
                ),
                head=dict(
                    type='mmgcp.TokenFusionHead',
                    num_classes=3,
                    in_channels=12,
                    second_order_channels=18,
                    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
                ),
            )
        )
        model.init_weights()
        samples = [DataSample().set_gt_label(i) for i in (0, 2)]
        model.train()(torch.randn(2, 3, 32, 32), samples, mode='loss')[
            'loss'
        ].backward()
        scores = model.eval()(torch.randn(2, 3, 32, 32), samples, mode='predict')
    assert model.neck.wr.weight.grad.abs().sum() > 0
    assert model.head.visual_fc.weight.grad.abs().sum() > 0
    assert scores[0].pred_score.shape == (3,)

"""Multi-head cross-covariance pooling and the token head."""

import numpy as np
import pytest
import torch

from mmgcp.registry import MODELS


def neck(released=True, **kwargs):
    torch.manual_seed(1)
    cfg = dict(type='mmgcp.MultiHeadCrossCovariancePooling', in_channels=12)
    cfg.update(num_heads=2, head_dims=3, match_released_code=released, **kwargs)
    return MODELS.build(cfg).double()


def some_tokens():
    torch.manual_seed(0)
    return torch.randn(2, 8, 12, dtype=torch.float64)


def reference(net, tokens, released):
    """The vectors, entry by entry."""
    projected = (tokens @ net.wr.weight.T).detach().cpu().numpy()
    vectors = []
    for sample in projected:
        entries = []
        for head in range(2):
            query = sample[:, 3 * head : 3 * head + 3]
            key = sample[:, 6 + 3 * head : 9 + 3 * head]
            axis = None if released else 0
            query = query - query.mean(axis=axis)
            key = key - key.mean(axis=axis)
            for i in range(3):
                for j in range(3):
                    total = sum(query[n, i] * key[n, j] for n in range(len(query)))
                    entries.append(total / len(query))
        vectors.append(entries)
    return np.array(vectors)


@pytest.mark.parametrize('released', [True, False])
def test_against_loops(released):
    net = neck(released=released).eval()
    cls_token, vector = net((some_tokens(),))
    assert torch.equal(cls_token, some_tokens()[:, 0])
    assert vector.shape == (2, net.out_channels) == (2, 18)
    expected = reference(net, some_tokens()[:, 1:], released)
    np.testing.assert_allclose(vector.detach().cpu().numpy(), expected, atol=1e-12)


def test_maps_have_no_class_token():
    net = neck().eval()
    maps = some_tokens().transpose(1, 2).reshape(2, 12, 4, 2)
    cls_token, vector = net((torch.zeros(1), maps))
    torch.testing.assert_close(cls_token, some_tokens().mean(1))
    expected = reference(net, some_tokens(), True)
    np.testing.assert_allclose(vector.detach().cpu().numpy(), expected, atol=1e-12)
    net.pool_cls_token = True
    vector = net((some_tokens(),))[1]
    np.testing.assert_allclose(vector.detach().cpu().numpy(), expected, atol=1e-12)


def test_the_released_code_drops_whole_tokens():
    net = neck(drop_rate=0.4, element_drop_rate=0).train()
    net.wr = torch.nn.Linear(12, 12).double()
    torch.nn.init.zeros_(net.wr.weight)
    torch.nn.init.ones_(net.wr.bias)
    matrices = net((torch.zeros(64, 9, 12, dtype=torch.float64),))[1].view(128, 9)
    # A dropped token is zero in all channels, so that all entries are one variance:
    # that of k ones among 8 tokens, divided by the rate of kept ones.
    torch.testing.assert_close(matrices, matrices[:, :1].expand(-1, 9))
    share = torch.arange(9, dtype=torch.float64) / 8
    possible = share * (1 - share) / 0.6**2
    assert torch.cdist(matrices[:, :1], possible[:, None]).min(1)[0].max() < 1e-6
    assert matrices.std() > 0


def test_what_is_meant_drops_whole_channels():
    net = neck(released=False, drop_rate=0.4, element_drop_rate=0)
    expected = net.eval()((some_tokens(),))[1].view(2, 2, 3, 3)
    found = net.train()((some_tokens(),))[1].view(2, 2, 3, 3)
    ratio = found / expected * 0.6**2
    kept = ratio.diagonal(dim1=2, dim2=3).round()
    assert 0 < kept.mean() < 1
    # One mask for both projections: rows and columns go together.
    torch.testing.assert_close(ratio, kept[..., :, None] * kept[..., None, :])


def test_a_frozen_neck_neither_learns_nor_drops():
    net = neck(drop_rate=0.4, frozen=True).train()
    vector = net((some_tokens(),))[1]
    assert not vector.requires_grad
    assert torch.equal(vector, net((some_tokens(),))[1])


@pytest.mark.parametrize('kind', ['svPN', 'ScaleNorm', 'LayerNorm', 'ElementwisePower'])
def test_normalizations_of_matrices_that_are_not_symmetric(kind):
    net = neck(normalization=dict(type=kind)).train()
    vector = net((some_tokens(),))[1]
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

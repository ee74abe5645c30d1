"""Agreement with the published algorithms, and each place where we differ."""

import pytest
import torch

from benchmarks import official
from mmgcp import layers

from .common import Pooling, features, pooling, relative, value_and_gradient

# The published centering matrix is float32 even in float64.
FLOAT32_CENTERING = 2e-6


@pytest.mark.parametrize('steps', [1, 2, 3, 5])
@pytest.mark.parametrize('shape', [(2, 6, 5, 5), (2, 9, 2, 3)], ids=str)
def test_isqrt_is_the_published_layer(steps, shape):
    x = features(*shape)
    value, grad = value_and_gradient(
        lambda x: official.official_isqrt(x, steps).squeeze(2), x
    )
    neck = Pooling(layers.NewtonSchulz(steps))

    def plain(x):
        return layers.triangle(layers.newton_schulz_sqrt(layers.covariance(x), steps))

    for function in (neck, plain):
        ours, our_grad = value_and_gradient(function, x)
        assert relative(ours, value) < FLOAT32_CENTERING
        assert relative(our_grad, grad) < FLOAT32_CENTERING * 5


def test_published_root_alone_has_a_transposed_gradient():
    matrix = torch.randn(1, 4, 4, dtype=torch.float64)
    matrix = matrix @ matrix.transpose(1, 2)
    weight = torch.randn(1, 4, 4, dtype=torch.float64)

    def gradient(function):
        leaf = matrix.clone().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf, weight)[0]

    ours = gradient(lambda m: layers.newton_schulz_sqrt(m, 3))
    theirs = gradient(lambda m: official.OfficialSquareRoot.apply(m, 3))
    assert relative(theirs.transpose(1, 2), ours) < 1e-12
    assert relative(theirs, ours) > 1e-2


def test_zero_covariance_is_zero_here_and_nan_there():
    x = features(2, 4, 3, 3)
    x[0] = 0
    theirs = official.official_isqrt(x)
    ours = layers.newton_schulz_features(x)
    assert theirs[0].isnan().any()
    assert not ours[0].any()
    assert relative(ours[1], theirs[1, :, 0]) < FLOAT32_CENTERING


def test_drop_rate_is_the_published_rule():
    dropout = layers.DropCov(64).double()
    # Channels of very different strength: row sums unlike the importance.
    x = features(4, 64, 6, 6) * torch.linspace(-2, 2, 64).exp().view(1, 64, 1, 1)
    importance = dropout.channel_importance(x)
    weighted = x * (1 + importance)[:, :, None, None]
    expected = official.OfficialDropCov.rate(weighted, importance)
    assert 0.01 < expected < 0.99
    assert abs(dropout.rate(x) - expected) < 1e-6


def test_dead_sample_does_not_vote_here_and_breaks_the_rate_there():
    dropout = layers.DropCov(32).double()
    x = features(3, 32, 4, 4) * torch.linspace(-2, 2, 32).exp().view(1, 32, 1, 1)
    x[1] = 0
    importance = dropout.channel_importance(x)
    assert official.OfficialDropCov.rate(x, importance).isnan()
    living = dropout.rate(x[[0, 2]])
    assert 0.01 < living < 0.99
    assert torch.allclose(dropout.rate(x), living, rtol=1e-12)


def test_dropcov_with_the_same_mask():
    """At a rate of 0 both are the same function of features and weights."""
    x = features(2, 16, 4, 4) + torch.rand(2, 1, 4, 4).double() * 5
    theirs = official.OfficialDropCov().double()
    ours = pooling('dropcov', 16).double()
    ours.dropout.importance.weight.data.copy_(theirs.conv.weight.data)
    assert ours.dropout.rate(x) == 0
    value, grad = value_and_gradient(lambda x: theirs(x).squeeze(2), x)
    mine, my_grad = value_and_gradient(ours, x)
    assert relative(mine, value) < 1e-5
    assert relative(my_grad, grad) < 1e-5

"""Agreement with the published algorithms, and each place where we differ."""

import pytest
import torch
from torch.autograd import gradcheck

from mmgcp import layers
from benchmarks import official

from .common import features, relative, value_and_gradient

# The published centring matrix is float32 even in float64.
FLOAT32_CENTRING = 2e-6


@pytest.mark.parametrize('steps', [1, 2, 3, 5])
@pytest.mark.parametrize('shape', [(2, 6, 5, 5), (2, 9, 2, 3)], ids=str)
def test_isqrt_is_the_published_layer(steps, shape):
    x = features(*shape)
    value, grad = value_and_gradient(
        lambda x: official.official_isqrt(x, steps).squeeze(2), x
    )
    for path in ('gram', 'covariance', 'plain'):
        module = layers.NewtonSchulz(steps, path=path)
        ours, our_grad = value_and_gradient(
            lambda x, m=module: m.forward_features(x.flatten(2)), x
        )
        assert relative(ours, value) < FLOAT32_CENTRING
        assert relative(our_grad, grad) < FLOAT32_CENTRING * 5


def test_result_has_no_third_dimension():
    x = features(2, 4, 3, 3)
    assert official.official_isqrt(x).shape == (2, 10, 1)
    assert layers.NewtonSchulz().forward_features(x.flatten(2)).shape == (2, 10)


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
    ours = layers.NewtonSchulz().forward_features(x.flatten(2))
    assert theirs[0].isnan().any()
    assert not ours[0].any()
    assert relative(ours[1], theirs[1, :, 0]) < FLOAT32_CENTRING


def test_drop_rate_is_the_published_rule():
    torch.manual_seed(3)
    x = features(4, 64, 6, 6) + 0.02 * torch.rand(4, 1, 6, 6).double()
    importance = torch.rand(4, 64, dtype=torch.float64).softmax(1)
    theirs = official.OfficialDropCov.rate(x, importance)
    ours = layers.channel_drop_rate(x, importance)
    assert 0.01 < theirs < 0.99
    assert abs(ours - theirs) < 1e-6


def test_drop_rate_of_the_module_is_that_of_the_reweighted_features():
    module = layers.AdaptiveChannelDropout(64).double()
    # Channels of very different strength: row sums unlike the importance.
    x = features(4, 64, 6, 6) * torch.linspace(-2, 2, 64).exp().view(1, 64, 1, 1)
    importance = module.channel_importance(x)
    weighted = x * (1 + importance)[:, :, None, None]
    expected = official.OfficialDropCov.rate(weighted, importance)
    assert 0.01 < expected < 0.99
    assert abs(module.rate(x) - expected) < 1e-6


def test_dead_sample_does_not_vote_here_and_breaks_the_rate_there():
    x = features(3, 32, 4, 4)
    importance = torch.rand(3, 32, dtype=torch.float64).softmax(1)
    x[1] = 0
    assert official.OfficialDropCov.rate(x, importance).isnan()
    living = layers.channel_drop_rate(x[[0, 2]], importance[[0, 2]])
    assert torch.equal(layers.channel_drop_rate(x, importance), living)


def test_dropcov_tail_with_the_same_mask():
    """At a rate of 0 both tails are the same function of features and weights."""
    torch.manual_seed(0)
    x = features(2, 16, 4, 4) + torch.rand(2, 1, 4, 4).double() * 5
    theirs = official.OfficialDropCov().double()
    ours = layers.AdaptiveChannelDropout(16).double()
    ours.importance.weight.data.copy_(theirs.conv.weight.data)
    assert ours.rate(x) == 0
    value, grad = value_and_gradient(lambda x: theirs(x).squeeze(2), x)
    mine, my_grad = value_and_gradient(lambda x: layers.covariance_vector(ours(x)), x)
    assert relative(mine, value) < 1e-5
    assert relative(my_grad, grad) < 1e-5


def test_published_chain_passes_gradcheck_through_the_covariance():
    """The oracle itself is right where the chain is used as published."""
    x = features(1, 3, 2, 3).requires_grad_()
    assert gradcheck(lambda x: official.official_isqrt(x, 3), x, atol=1e-4)

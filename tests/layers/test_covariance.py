import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mmgcp import layers

from .common import features, relative


def test_covariance_equals_numpy():
    x = features(3, 5, 4, 3)
    expected = np.stack([np.cov(m, bias=True) for m in x.flatten(2).numpy()])
    assert np.abs(layers.covariance(x).numpy() - expected).max() < 1e-10


def test_cross_covariance_equals_loops():
    x, y = features(2, 3, 2, 2), features(2, 4, 2, 2, seed=1)
    out = layers.cross_covariance(x, y)
    a, b = x.flatten(2).numpy(), y.flatten(2).numpy()
    for n in range(2):
        for i in range(3):
            for j in range(4):
                left, right = a[n, i] - a[n, i].mean(), b[n, j] - b[n, j].mean()
                assert abs(out[n, i, j].item() - (left * right).mean()) < 1e-10


def test_gradients():
    x = features(2, 3, 4).requires_grad_()
    y = features(2, 2, 4, seed=1).requires_grad_()
    assert gradcheck(layers.covariance, x)
    assert gradcheck(layers.cross_covariance, (x, y))
    assert gradcheck(layers.covariance_vector, x)
    assert gradgradcheck(layers.covariance_vector, x)


def test_modules_equal_functions():
    x, y = features(2, 3, 2, 2), features(2, 4, 2, 2, seed=1)
    assert torch.equal(layers.Covariance()(x), layers.covariance(x))
    assert torch.equal(layers.CrossCovariance()(x, y), layers.cross_covariance(x, y))


def test_vector_equals_triangle_of_covariance():
    x = features(3, 6, 3, 3)
    expected = layers.triangle(layers.covariance(x))
    assert torch.allclose(layers.covariance_vector(x), expected, rtol=1e-13)
    assert torch.equal(layers.covariance_vector(x, path='plain'), expected)


@pytest.mark.parametrize('offset', [1, 100])
def test_a_large_mean_costs_no_digits(offset):
    """The published centring matrix is 7 % off in float32 at 100 deviations."""
    x = features(2, 8, 6, 6) + offset
    single = layers.covariance(x.float())
    # What rounding the features themselves to float32 costs is not the layer's.
    assert relative(single, layers.covariance(x.float().double())) < 2e-6 * offset**0.5


@pytest.mark.parametrize('centre', ['channel', 'scalar', 'none'])
def test_multi_head_equals_loops(centre):
    query, key = features(2, 3, 5, 4), features(2, 3, 5, 2, seed=1)
    out = layers.MultiHeadCrossCovariance(centre)(query, key)
    assert out.shape == (2, 3, 4, 2)
    for b in range(2):
        for h in range(3):
            q, k = query[b, h].numpy(), key[b, h].numpy()
            if centre == 'channel':
                q, k = q - q.mean(0), k - k.mean(0)
            elif centre == 'scalar':
                q, k = q - q.mean(), k - k.mean()
            assert np.abs(out[b, h].numpy() - q.T @ k / 5).max() < 1e-10
    assert gradcheck(
        lambda q, k: layers.multi_head_cross_covariance(q, k, centre),
        (query[:1, :1].requires_grad_(), key[:1, :1].requires_grad_()),
    )


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r'\(B, C, H, W\)'):
        layers.covariance(torch.zeros(2, 3))
    with pytest.raises(ValueError, match='same samples'):
        layers.cross_covariance(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match='centre'):
        layers.MultiHeadCrossCovariance('tokens')
    with pytest.raises(ValueError, match='same B, heads and N'):
        layers.multi_head_cross_covariance(
            torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 4)
        )

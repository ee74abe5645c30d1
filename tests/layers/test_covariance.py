"""Covariance, triangle, cross-covariance of tokens."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mmgcp import layers
from mmgcp.layers.triangle import triangle_gradient

from .common import features, relative


def test_covariance_equals_numpy():
    x = features(3, 5, 4, 3)
    expected = np.stack([np.cov(m, bias=True) for m in x.flatten(2).cpu().numpy()])
    assert np.abs(layers.covariance(x).cpu().numpy() - expected).max() < 1e-10


@pytest.mark.parametrize('size', [1, 2, 5])
def test_triangle_is_row_by_row(size):
    matrix = torch.rand(2, size, size, dtype=torch.float64)
    expected = [matrix[:, r, c] for r in range(size) for c in range(r, size)]
    assert torch.equal(layers.triangle(matrix), torch.stack(expected, 1))
    turned = matrix.transpose(1, 2)
    assert torch.equal(layers.triangle(turned), layers.triangle(turned.contiguous()))


def test_vector_equals_triangle_of_covariance():
    x = features(3, 6, 3, 3)
    expected = layers.triangle(layers.covariance(x))
    assert torch.allclose(layers.covariance_vector(x), expected, rtol=1e-13)


def test_gradients():
    x = features(2, 3, 4).requires_grad_()
    assert gradcheck(layers.covariance, x)
    assert gradcheck(layers.covariance_vector, x)
    assert gradgradcheck(layers.covariance_vector, x)
    matrix = torch.rand(2, 4, 4, dtype=torch.float64, requires_grad=True)
    out = layers.triangle(matrix)
    weight = torch.rand_like(out)
    (plain,) = torch.autograd.grad(out, matrix, weight)
    assert torch.equal(triangle_gradient(weight, 4), plain + plain.transpose(1, 2))


@pytest.mark.parametrize('offset', [1, 100])
def test_a_large_mean_costs_no_digits(offset):
    """The published centering matrix is 7 % off in float32 at 100 deviations."""
    x = features(2, 8, 6, 6) + offset
    single = layers.covariance(x.float())
    # What rounding the features themselves to float32 costs is not the layer's.
    assert relative(single, layers.covariance(x.float().double())) < 2e-6 * offset**0.5


@pytest.mark.parametrize('center', ['channel', 'scalar'])
def test_multi_head_equals_loops(center):
    query, key = features(2, 3, 5, 4), features(2, 3, 5, 2, seed=1)
    out = layers.multi_head_cross_covariance(query, key, center)
    assert out.shape == (2, 3, 4, 2)
    for b in range(2):
        for h in range(3):
            q, k = query[b, h].cpu().numpy(), key[b, h].cpu().numpy()
            if center == 'channel':
                q, k = q - q.mean(0), k - k.mean(0)
            else:
                q, k = q - q.mean(), k - k.mean()
            assert np.abs(out[b, h].cpu().numpy() - q.T @ k / 5).max() < 1e-10
    assert gradcheck(
        lambda q, k: layers.multi_head_cross_covariance(q, k, center),
        (query[:1, :1].requires_grad_(), key[:1, :1].requires_grad_()),
    )


@pytest.mark.parametrize(
    ('call', 'match'),
    [
        (lambda: layers.covariance(torch.zeros(2, 3)), r'\(B, C, H, W\)'),
        (lambda: layers.triangle(torch.zeros(2, 3, 4)), r'\(B, C, C\)'),
        (lambda: layers.newton_schulz_sqrt(torch.zeros(2, 3, 4)), r'\(B, C, C\)'),
        (lambda: layers.matrix_power(torch.zeros(3, 3)), r'\(B, C, C\)'),
        (lambda: layers.matrix_logarithm(torch.zeros(1, 3, 3), 0.0), 'eps'),
        (lambda: layers.log_cholesky(torch.zeros(1, 3, 3), 0.0), 'eps'),
        (lambda: layers.NewtonSchulz(0), 'at least 1'),
        (lambda: layers.SVPN(4, iterations=0), 'at least 1'),
        (
            lambda: layers.multi_head_cross_covariance(
                torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 4)
            ),
            'same B, heads and N',
        ),
        (
            lambda: layers.multi_head_cross_covariance(
                torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), 'tokens'
            ),
            'center',
        ),
    ],
)
def test_wrong_input_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()

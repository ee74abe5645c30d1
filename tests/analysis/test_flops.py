"""Counts by hand."""

import pytest
import torch
from torch import nn

from mmgcp.analysis.flops import count_flops, count_kept_bytes
from mmgcp.layers import covariance, matrix_power, newton_schulz_sqrt


def flops(call):
    with torch.no_grad():
        return count_flops(call, {})[0]


def test_convolution_and_linear_by_part():
    parts = {'conv': nn.Conv2d(3, 8, 3, padding=1), 'fc': nn.Linear(8, 5)}
    image = torch.randn(2, 3, 6, 6)

    def call():
        return parts['fc'](parts['conv'](image).mean((2, 3)))

    with torch.no_grad():
        total, inside = count_flops(call, parts)
    # Two per multiply-add: 36 positions, 27 inputs, 8 outputs, 2 images.
    assert inside == {'conv': 2 * 2 * 36 * 27 * 8, 'fc': 2 * 2 * 8 * 5}
    assert total == sum(inside.values())


def test_covariance_is_one_product():
    x = torch.randn(3, 8, 5, 5)
    assert flops(lambda: covariance(x)) == 2 * 3 * 8 * 8 * 25


@pytest.mark.parametrize('iterations', [1, 3, 5])
def test_newton_schulz_grows_by_a_number_of_products(iterations):
    matrix = torch.eye(8).repeat(2, 1, 1)
    product = 2 * 2 * 8**3
    count = flops(lambda: newton_schulz_sqrt(matrix, iterations))
    # At most the published 3 N - 3 products, and whole ones.
    assert count % product == 0
    assert count <= max(3 * iterations - 3, 1) * product
    assert count > 0 or iterations == 1


def test_eigendecomposition_counts():
    matrix = torch.eye(8).repeat(2, 1, 1)
    decomposition = 2 * 9 * 8**3
    assert flops(lambda: torch.linalg.eigh(matrix)) == decomposition
    assert flops(lambda: matrix_power(matrix)) > decomposition


@pytest.mark.parametrize('product', ['baddbmm_', 'baddbmm'])
def test_in_place_products_count_like_others(product):
    a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    target = torch.zeros(2, 3, 5)
    assert flops(lambda: getattr(target, product)(a, b)) == 2 * 2 * 3 * 4 * 5


def test_kept_bytes_are_what_backward_needs():
    layer = nn.Linear(6, 4)
    x = torch.randn(10, 6, requires_grad=True)
    # The input, in single precision; the weight is a parameter.
    total, inside = count_kept_bytes(lambda: layer(x), layer, {'layer': layer})
    assert (total, inside) == (240, {'layer': 240})
    # exp keeps its result, and what is kept twice counts once.
    total, _ = count_kept_bytes(lambda: x.exp() * x, layer, {})
    assert total == 240 + 240

import pytest
import torch
from torch.autograd import gradcheck

from mmgcp import layers
from mmgcp.layers.triangle import triangle_gradient


@pytest.mark.parametrize('size', [1, 2, 5])
def test_order_is_row_by_row(size):
    matrix = torch.rand(2, size, size, dtype=torch.float64)
    expected = [matrix[:, r, c] for r in range(size) for c in range(r, size)]
    assert torch.equal(layers.triangle(matrix), torch.stack(expected, 1))
    assert torch.equal(layers.Triangle()(matrix), layers.triangle(matrix))


def test_gradients():
    matrix = torch.rand(2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(layers.triangle, matrix)
    out = layers.triangle(matrix)
    weight = torch.rand_like(out)
    (plain,) = torch.autograd.grad(out, matrix, weight)
    assert torch.equal(triangle_gradient(weight, 4), plain + plain.transpose(1, 2))


def test_views_and_bad_input():
    matrix = torch.rand(2, 4, 4)
    turned = matrix.transpose(1, 2)
    assert torch.equal(layers.triangle(turned), layers.triangle(turned.contiguous()))
    with pytest.raises(ValueError, match=r'\(B, C, C\)'):
        layers.triangle(torch.zeros(2, 3, 4))

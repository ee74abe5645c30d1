"""Products, eigenvalues and trace of Hessians that are known."""

import numpy as np
import pytest
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmgcp.analysis.hessian import (
    NotTwiceDifferentiable,
    SampleLoss,
    hessian_product,
    hutchinson,
    lanczos,
    linear_map,
    refuse_cut_graph,
    twice_differentiable,
)

from .quadratic import Quadratic, batches, symmetric

EIGENVALUES = [9.0, 5.0, 2.0, 1.0, 0.5, -1.0]


@pytest.fixture
def hessian():
    return symmetric(EIGENVALUES)


@pytest.fixture
def loss(hessian):
    model = Quadratic(hessian, torch.linspace(-1, 1, 6))
    # 3 images of input 0.5 and 1 of input 2.5: the weighted mean is 1.
    return SampleLoss(model, batches(0.5, 2.5, sizes=(3, 1)))


def test_products_are_those_of_the_hessian(loss, hessian):
    vector = torch.randn(6, dtype=torch.float64)
    found = hessian_product(loss)(vector)
    torch.testing.assert_close(found, hessian @ vector, rtol=1e-4, atol=1e-4)


class Once(torch.autograd.Function):
    """A square that gives one derivative only."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


def test_what_gives_one_derivative_is_refused():
    class Model(Quadratic):
        def forward(self, inputs, data_samples=None, mode='loss'):
            return {'loss': Once.apply(self.backbone.weight).sum().square()}

    model = Model(torch.eye(2), torch.tensor([1.0, 2.0]))
    with pytest.raises(NotTwiceDifferentiable, match='only once'):
        hessian_product(SampleLoss(model, batches(1.0)))


def test_attention_has_a_second_derivative():
    class Model(Quadratic):
        def forward(self, inputs, data_samples=None, mode='loss'):
            tokens = self.backbone.weight.view(1, 2, 3, 2)
            out = F.scaled_dot_product_attention(tokens, tokens, tokens)
            return {'loss': out.pow(3).sum()}

    loss = SampleLoss(Model(torch.eye(12), torch.linspace(-1, 1, 12)), batches(1.0))
    product = hessian_product(loss)
    columns = torch.stack([product(row) for row in torch.eye(12).double()])
    torch.testing.assert_close(columns, columns.T, rtol=1e-4, atol=1e-5)
    assert torch.backends.cuda.flash_sdp_enabled()


def test_loss_and_gradient_of_the_quadratic(loss, hessian):
    theta = torch.linspace(-1, 1, 6).double()
    assert loss.value() == pytest.approx(float(theta @ hessian @ theta) / 2, rel=1e-5)
    torch.testing.assert_close(loss.gradient(), hessian @ theta, rtol=1e-4, atol=1e-5)


def test_a_move_of_the_weights_is_undone_exactly(loss):
    before = loss.weights()
    with loss.at(before + 0.1):
        assert not torch.equal(loss.weights(), before)
    assert torch.equal(loss.weights(), before)


def test_lanczos_finds_the_spectrum_and_shows_its_way(hessian):
    result = lanczos(lambda v: hessian @ v, 6, steps=6, seed=0, top=3)
    assert result['eigenvalues'] == pytest.approx([9.0, 5.0, 2.0])
    assert result['smallest'] == pytest.approx(-1.0)
    assert len(result['history']) == 6
    leading = [values[0] for values in result['history']]
    assert leading == sorted(leading)


def test_residual_bounds_the_error_of_an_unfinished_lanczos(hessian):
    result = lanczos(lambda v: hessian @ v, 6, steps=3, seed=0, top=1)
    nearest = np.abs(np.array(EIGENVALUES) - result['eigenvalues'][0]).min()
    assert nearest <= result['residuals'][0] + 1e-12


def test_trace_is_exact_for_a_diagonal_and_unbiased_else(hessian):
    diagonal = torch.tensor(EIGENVALUES).double()
    exact = hutchinson(lambda v: diagonal * v, 6, probes=2, seed=0)
    assert exact['trace'] == pytest.approx(16.5)
    assert exact['standard_error'] == pytest.approx(0.0, abs=1e-12)
    estimate = hutchinson(lambda v: hessian @ v, 6, probes=4000, seed=0)
    assert abs(estimate['trace'] - 16.5) < 4 * estimate['standard_error']


def test_a_linear_map_is_differentiable_to_any_order():
    kernel = torch.randn(2, 3, 3, 3, dtype=torch.float64)
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64, requires_grad=True)

    def through(x):
        return linear_map(lambda y: F.conv2d(y, kernel), x)

    assert torch.autograd.gradcheck(through, x)
    assert torch.autograd.gradgradcheck(lambda x: through(x).pow(3), x)


def test_roi_align_becomes_twice_differentiable():
    ops = pytest.importorskip('mmcv.ops')
    align = ops.RoIAlign(2, sampling_ratio=2)
    features = torch.randn(1, 1, 6, 6, requires_grad=True)
    boxes = torch.tensor([[0, 0.5, 0.5, 4.5, 4.5]])

    def slope():
        value = align(features, boxes).pow(2).sum()
        return torch.autograd.grad(value, features, create_graph=True)[0].sum()

    with pytest.raises(RuntimeError, match='only once'):
        refuse_cut_graph(slope())
    with twice_differentiable(align):
        derivative = slope()
        refuse_cut_graph(derivative)
        second = torch.autograd.grad(derivative, features)[0]
    with torch.no_grad():
        forward = align(torch.ones_like(features), boxes)
    # The Hessian of |A x|^2 is 2 A^T A, here times a vector of ones.
    adjoint = torch.autograd.grad(align(features, boxes), features, forward)[0]
    torch.testing.assert_close(second, 2 * adjoint)

"""Hand-written gradients: both sides are the plain function, and visible to torch."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mmgcp import layers
from mmgcp.layers.autograd import needs_plain
from mmgcp.layers.triangle import _kept, _triangle_index

from .common import features, pooling, relative, value_and_gradient

# Channels and positions: the Gram side, its limit, the covariance side.
SIDES = [(2, 12, 5), (2, 10, 8), (2, 10, 9), (2, 7, 7), (2, 5, 12)]
MODULES = {
    **{f'steps {n}': layers.NewtonSchulz(n) for n in (1, 2, 3, 4, 5, 7)},
    'power 0.5': layers.MatrixPower(0.5),
    'power 0.7': layers.MatrixPower(0.7),
}


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('shape', SIDES, ids=str)
def test_features_and_matrices_give_the_same(name, shape):
    """Value and gradient against plain operations: autograd's for Newton-Schulz."""
    x, module = features(*shape), MODULES[name]
    value, grad = value_and_gradient(
        lambda x: layers.triangle(module(layers.covariance(x))), x
    )
    own_value, own_grad = value_and_gradient(module.from_features, x)
    assert relative(own_value, value) < 1e-12
    assert relative(own_grad, grad) < 1e-11


@pytest.mark.parametrize('name', ['steps 1', 'steps 3', 'steps 4', 'power 0.5'])
@pytest.mark.parametrize('shape', [(1, 4, 3), (1, 3, 5)], ids=str)
def test_first_and_second_derivatives(name, shape):
    module = MODULES[name]
    x = features(*shape).requires_grad_()
    assert gradcheck(module.from_features, x)
    if not name.startswith('power'):
        assert gradgradcheck(module.from_features, x)


@pytest.mark.parametrize('shape', [(1, 4, 3), (1, 3, 5)], ids=str)
@pytest.mark.parametrize('module', [layers.MatrixPower(), layers.MatrixLogarithm()])
def test_exact_functions_refuse_second_derivatives(module, shape):
    """A wrong Hessian would go unnoticed."""
    x = features(*shape).requires_grad_()
    out = module.from_features(x).square().sum()
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(out, x, create_graph=True)
    with pytest.raises(RuntimeError, match='functorch'):
        torch.func.grad(lambda x: module.from_features(x).sum())(x)


@pytest.mark.parametrize('name', ['steps 3', 'steps 5', 'power 0.5'])
@pytest.mark.parametrize('shape', [(2, 64, 49), (2, 32, 64), (2, 128, 100)], ids=str)
def test_float32_keeps_five_digits(name, shape):
    x, module = features(*shape), MODULES[name]
    value, grad = value_and_gradient(module.from_features, x)
    single_value, single_grad = value_and_gradient(module.from_features, x.float())
    bound = 1e-4 if name == 'power 0.5' else 1e-5
    assert relative(single_value, value) < bound
    assert relative(single_grad, grad) < bound * (10 if name == 'power 0.5' else 1)


@pytest.mark.parametrize('alpha', [0.5, 0.7])
def test_close_eigenvalues_cost_no_digits(alpha):
    """Also where two are the same: the gradient is alpha t ** (alpha - 1)."""
    values = torch.tensor([1e-9, 0.3, 0.3, 0.3 + 1e-12, 0.9], dtype=torch.float64)
    matrix = values.diag().unsqueeze(0).requires_grad_()
    out = layers.matrix_power(matrix, alpha)
    (grad,) = torch.autograd.grad(out.sum(), matrix)
    slope = alpha * 0.3 ** (alpha - 1)
    assert torch.allclose(grad[0, 1:4, 1:4], torch.full((3, 3), slope).double())
    change = (0.9**alpha - 0.3**alpha) / 0.6
    assert grad[0, 1, 4].item() == pytest.approx(change, rel=1e-10)


def test_features_that_are_not_finite_are_handed_on():
    x = features(2, 128, 100, dtype=torch.float32)
    x[1, 0, 0] = float('nan')
    out = layers.NewtonSchulz().from_features(x.requires_grad_())
    assert out[1].isnan().any()
    out.sum().backward()


@pytest.mark.parametrize('name', ['newton_schulz_2', 'power_0.5', 'logarithm'])
def test_a_trace_has_plain_operations_alone(name):
    x = features(2, 4, 3, 2)
    module = pooling(name, 4).double()
    traced = torch.jit.trace(module, x, check_trace=False)
    assert 'PythonOp' not in str(traced.inlined_graph)
    assert relative(traced(x), module(x)) < 1e-12
    value, grad = value_and_gradient(module, x)
    assert relative(value_and_gradient(traced, x)[1], grad) < 1e-10


def test_transforms_of_newton_schulz():
    """torch.func and forward-mode derivatives go through plain operations."""
    x = features(2, 4, 3, 2)
    module = pooling('newton_schulz_2', 4).double()
    seen = []

    def spy(x):
        seen.append(needs_plain(x))
        return module(x)

    expected = spy(x)
    per_sample = torch.vmap(lambda s: spy(s.unsqueeze(0)).squeeze(0))(x)
    assert relative(per_sample, expected) < 1e-12
    value, tangent = torch.func.jvp(spy, (x,), (x.square(),))
    assert relative(value, expected) < 1e-12
    step = (module(x + 1e-6 * x.square()) - value) / 1e-6
    assert relative(tangent, step) < 1e-4
    (gradient,) = torch.func.vjp(spy, x)[1](torch.ones_like(expected))
    leaf = x.clone().requires_grad_()
    spy(leaf).sum().backward()
    assert relative(gradient, leaf.grad) < 1e-10
    assert seen == [False, True, True, True, False]
    torch.func.grad(lambda x: layers.covariance_vector(x).sum())(features(1, 19, 2))
    assert _kept(_triangle_index, 19, x).data_ptr()  # no tensor of the transform


@pytest.mark.parametrize('name', ['steps 5', 'power 0.5'])
@pytest.mark.parametrize('positions', [6, 12])
def test_operators_do_not_grow_with_the_batch(name, positions):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.calls += 1
            return function(*args, **(kwargs or {}))

    def calls(batch):
        x = features(batch, 8, positions).requires_grad_()
        with Count() as mode:
            MODULES[name].from_features(x).sum().backward()
        return mode.calls

    calls(2)  # the places of the triangle are computed once and kept
    assert calls(1) == calls(7)


def test_gradient_can_be_taken_twice_from_one_graph():
    x = features(2, 6, 4).requires_grad_()
    out = layers.NewtonSchulz().from_features(x).square().sum()
    (first,) = torch.autograd.grad(out, x, retain_graph=True)
    (again,) = torch.autograd.grad(out, x)
    assert torch.equal(first, again)

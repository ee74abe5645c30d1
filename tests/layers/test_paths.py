"""The fast paths: the same function as the plain one, and visible where it matters."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from mmgcp import layers
from mmgcp.layers.dispatch import choose_path, needs_plain
from mmgcp.layers.fused_eigen_root import step_factors, step_kernel
from mmgcp.layers.polynomial import newton_schulz_schedule, plain_matrix_root

from .common import Tail, features, normalizations, relative, value_and_gradient

SIDES = {
    'fewer positions': (2, 12, 5),
    'equal': (2, 7, 7),
    'fewer channels': (2, 5, 12),
}
MODULES = {
    **{f'steps {n}': {'iterations': n} for n in (1, 2, 3, 4, 5, 7)},
    'fit': {'fit': True},
    'power 0.5': {'alpha': 0.5},
    'power 0.7': {'alpha': 0.7},
}


def build(name, path):
    cls = layers.MatrixPower if name.startswith('power') else layers.NewtonSchulz
    return cls(path=path, **MODULES[name])


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('shape', SIDES.values(), ids=SIDES)
def test_every_path_is_the_same_function(name, shape):
    x = features(*shape)
    reference = build(name, 'plain')
    through_matrix = layers.triangle(reference(layers.covariance(x)))
    value, grad = value_and_gradient(reference.forward_features, x)
    assert relative(value, through_matrix) < 1e-12
    paths = ['gram', 'covariance', 'auto']
    for path in [*paths, 'eigen'] if name.startswith('steps') else paths:
        other_value, other_grad = value_and_gradient(
            build(name, path).forward_features, x
        )
        assert relative(other_value, value) < 1e-12, path
        assert relative(other_grad, grad) < 1e-11, path


@pytest.mark.parametrize('name', ['steps 1', 'steps 3', 'steps 5', 'fit', 'power 0.5'])
@pytest.mark.parametrize('path', ['gram', 'covariance'])
@pytest.mark.parametrize('shape', [(1, 4, 3), (1, 3, 5)], ids=str)
def test_first_and_second_derivatives(name, path, shape):
    module = build(name, path)
    x = features(*shape).requires_grad_()
    assert gradcheck(module.forward_features, x)
    assert gradgradcheck(module.forward_features, x)


@pytest.mark.parametrize('name', ['steps 1', 'steps 3', 'steps 5'])
@pytest.mark.parametrize('shape', [(1, 4, 3), (1, 3, 5)], ids=str)
def test_derivatives_through_eigenvalues(name, shape):
    test_first_and_second_derivatives(name, 'eigen', shape)


@pytest.mark.parametrize('iterations', [1, 2, 5])
def test_divided_differences_of_the_steps(iterations):
    """Also those of two eigenvalues that are close or the same: the derivative."""
    values = [0.0, 1e-9, 0.3, 0.3, 0.3 + 1e-12, 0.9]
    values = torch.tensor([values], dtype=torch.float64)
    kernel = step_kernel(values, iterations)[0]
    free = values.clone().requires_grad_()
    factors = step_factors(free, iterations)
    (slopes,) = torch.autograd.grad(factors.sum(), free)
    assert torch.allclose(kernel.diagonal(), slopes[0], rtol=1e-12)
    assert torch.allclose(kernel, kernel.t(), rtol=1e-12)
    assert torch.allclose(kernel[2:5, 2:5], slopes[0, 2].expand(3, 3), rtol=1e-9)
    difference = factors[0, 5] - factors[0, 0]
    assert kernel[0, 5].item() == pytest.approx((difference / 0.9).item(), rel=1e-12)


def test_features_that_are_not_finite_are_handed_on():
    x = features(2, 128, 100, dtype=torch.float32)
    x[1, 0, 0] = float('nan')
    for path in ('auto', 'eigen', 'gram'):
        out = layers.NewtonSchulz(path=path).forward_features(x.requires_grad_())
        assert out[1].isnan().any()
        out.sum().backward()


@pytest.mark.parametrize('name', ['steps 3', 'steps 5', 'fit', 'power 0.5'])
@pytest.mark.parametrize('shape', [(2, 64, 49), (2, 32, 64), (2, 128, 100)], ids=str)
def test_float32_keeps_five_digits(name, shape):
    x = features(*shape)
    module = build(name, 'auto')
    value, grad = value_and_gradient(module.forward_features, x)
    single_value, single_grad = value_and_gradient(module.forward_features, x.float())
    bound = 1e-4 if name == 'power 0.5' else 1e-5
    assert relative(single_value, value) < bound
    assert relative(single_grad, grad) < bound * (10 if name == 'power 0.5' else 1)


def test_fit_stays_within_its_stated_error():
    values = torch.cat([torch.logspace(-7, 0, 4001), torch.linspace(0, 1, 4001)])
    values = values.double().view(-1, 1, 1)
    five = newton_schulz_schedule(5)
    fit = layers.polynomial.FIVE_STEPS_FIT

    # 1 x 1 matrices divide themselves by their trace: go around the normalisation.
    def scalar(t, schedule):
        z, _ = layers.polynomial.evaluate(t, schedule)
        return (t * z).flatten()

    exact, fitted = scalar(values, five), scalar(values, fit)
    assert ((fitted - exact).abs() / exact.clamp_min(0.02)).max() < 2e-6
    x = features(2, 48, 36)
    value, grad = value_and_gradient(layers.NewtonSchulz(5).forward_features, x)
    module = layers.NewtonSchulz(5, fit=True)
    near_value, near_grad = value_and_gradient(module.forward_features, x)
    assert 0 < relative(near_value, value) < 1e-5
    assert relative(near_grad, grad) < 1e-4
    matrix = layers.covariance(x)
    assert torch.allclose(module(matrix), plain_matrix_root(matrix, fit))


def test_choice_of_path():
    wide, flat = torch.zeros(1, 10, 8), torch.zeros(1, 10, 9)
    assert choose_path('auto', wide) == 'gram'
    assert choose_path('auto', flat) == 'covariance'
    assert choose_path('plain', wide) == 'plain'
    for positions, expected in [(95, 'GramRoot'), (96, 'GramEigenRoot')]:
        x = torch.rand(1, 128, positions, requires_grad=True)
        for fit in (False, True):
            out = layers.NewtonSchulz(fit=fit).forward_features(x)
            taken = type(out.grad_fn).__name__.removesuffix('Backward')
            assert taken == ('GramRoot' if fit else expected)
    with pytest.raises(ValueError, match="'auto', 'gram'"):
        layers.NewtonSchulz(path='fast')
    with pytest.raises(ValueError, match="'auto', 'gram'"):
        layers.MatrixPower(path='eigen')
    with pytest.raises(ValueError, match='fit=True'):
        layers.NewtonSchulz(3, fit=True)
    with pytest.raises(ValueError, match='fit=True'):
        layers.NewtonSchulz(fit=True, path='eigen')
    with pytest.raises(ValueError, match='at least 1'):
        layers.NewtonSchulz(0)


@pytest.mark.parametrize(
    'name', ['newton_schulz_2', 'power_0.5', 'power_0.7', 'logarithm']
)
def test_plain_operations_for_those_who_look_inside(name):
    x = features(2, 4, 6)
    module = Tail(normalizations(4)[name]).double()
    seen = []

    def spy(x):
        seen.append(needs_plain(x))
        return module(x.view(-1, 4, 6, 1))

    expected = module(x.unsqueeze(3))
    traced = torch.jit.trace(spy, x, check_trace=False)
    assert 'PythonOp' not in str(traced.graph)
    assert relative(traced(x), expected) < 1e-12
    per_sample = torch.vmap(lambda s: spy(s).squeeze(0))(x)
    assert relative(per_sample, expected) < 1e-12
    value, tangent = torch.func.jvp(spy, (x,), (x.square(),))
    assert relative(value, expected) < 1e-12
    step = (module((x + 1e-6 * x.square()).unsqueeze(3)) - value) / 1e-6
    assert relative(tangent, step) < 1e-4
    (gradient,) = torch.func.vjp(spy, x)[1](torch.ones_like(expected))
    leaf = x.clone().requires_grad_()
    spy(leaf).sum().backward()
    assert relative(gradient, leaf.grad) < 1e-10
    assert seen == [True, True, True, True, False]


@pytest.mark.parametrize('name', ['steps 5', 'fit', 'power 0.5'])
def test_flops_are_counted_as_run(name):
    """torch's counter sees the products of the paths, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    batch, channels, n = 2, 24, 9

    def count(path):
        x = features(batch, channels, n).requires_grad_()
        with FlopCounterMode(display=False) as counter:
            out = build(name, path).forward_features(x)
        forward = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            out.sum().backward()
        return forward, counter.get_total_flops()

    side = 2 * batch * n**3
    wide = 2 * batch * channels * n * n
    tall = 2 * batch * channels * channels * n
    products = {'steps 5': (10, 14), 'fit': (7, 9), 'power 0.5': (0, 0)}[name]
    # Two inner products of matrices give the trace its gradient.
    dots = 0 if name == 'power 0.5' else 2 * 2 * batch * n * n
    assert count('gram') == (
        products[0] * side + 2 * wide + tall,
        products[1] * side + 3 * wide + tall + dots,
    )
    assert sum(count('gram')) < sum(count('covariance')) < sum(count('plain'))


def count_with_mmengine(module, x):
    from mmengine.analysis import FlopAnalyzer

    return FlopAnalyzer(module, (x,)).total()


def count_with_fvcore(module, x):
    return pytest.importorskip('fvcore.nn').FlopCountAnalysis(module, (x,)).total()


@pytest.mark.parametrize('count', [count_with_mmengine, count_with_fvcore])
def test_analyzers_count_the_covariance(count):
    x = features(2, 6, 4, 4, dtype=torch.float32)
    # covariance and six products of 6 x 6, multiplications only
    expected = 2 * (6 * 6 * 16 + 6 * 6**3)
    assert count(Tail(layers.NewtonSchulz(3)).eval(), x) >= expected


@pytest.mark.parametrize(
    ('name', 'path'),
    [
        ('steps 5', 'gram'),
        ('steps 5', 'covariance'),
        ('steps 5', 'eigen'),
        ('power 0.5', 'gram'),
        ('power 0.5', 'covariance'),
    ],
)
def test_operators_do_not_grow_with_the_batch(name, path):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        calls = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.calls += 1
            return function(*args, **(kwargs or {}))

    def calls(batch):
        x = features(batch, 8, 6).requires_grad_()
        with Count() as mode:
            build(name, path).forward_features(x).sum().backward()
        return mode.calls

    calls(2)  # the places of the triangle are computed once and kept
    assert calls(1) == calls(7)


def test_gradient_can_be_taken_twice_from_one_graph():
    x = features(2, 6, 4).requires_grad_()
    out = layers.NewtonSchulz().forward_features(x).square().sum()
    (first,) = torch.autograd.grad(out, x, retain_graph=True)
    (again,) = torch.autograd.grad(out, x)
    assert torch.equal(first, again)

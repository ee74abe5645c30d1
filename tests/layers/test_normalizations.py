"""What every normalization of the covariance owes, whatever its mathematics."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from mmgcp import layers

from .common import (
    NORMALIZATIONS,
    features,
    pooling,
    relative,
    skip_without_autocast,
    value_and_gradient,
)

NAMES = sorted(NORMALIZATIONS)
# More channels than positions, as many, fewer.
SHAPES = [(2, 4, 3, 1), (2, 4, 2, 2), (1, 3, 7, 1)]


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_gradient_of_the_pooling(name, shape):
    module = pooling(name, shape[1]).double()
    # Not rectified: a covariance of exactly 0 is a kink of the signed power.
    x = torch.randn(*shape, dtype=torch.float64, requires_grad=True)
    assert gradcheck(module, x)


@pytest.mark.parametrize('name', NAMES)
def test_gradient_of_the_normalization_alone(name):
    matrix = layers.covariance(torch.randn(2, 4, 6, dtype=torch.float64))
    normalization = pooling(name, 4).normalization
    assert gradcheck(normalization.double(), matrix.requires_grad_())


class OneDevice(TorchDispatchMode):
    """Fails where an operation makes a tensor on another device than ``meta``."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == 'meta', function
        return out


@pytest.mark.parametrize('name', [*NAMES, 'dropcov'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_nothing_comes_from_another_device(name, shape):
    """A copy to a GPU waits for it, and no CUDA graph may hold one."""
    with torch.device('cpu'):
        module = pooling(name, shape[1]).to('meta')
        x = torch.empty(shape, device='meta', requires_grad=True)
        with OneDevice():
            module(x).sum().backward()
    assert x.grad.shape == x.shape


CASES = [
    'all zero',
    'constant',
    'one dead sample',
    'one channel alive',
    'more channels than positions',
    'one position',
    'batch of one',
]


def degenerate():
    zero = torch.zeros(3, 8, 4, 4)
    constant = torch.rand(3, 8, 1, 1).expand(3, 8, 4, 4)
    one_dead = features(3, 8, 4, 4, dtype=torch.float32)
    one_dead[1] = 0
    return {
        'all zero': zero,
        'constant': constant,
        'one dead sample': one_dead,
        'one channel alive': one_dead * torch.eye(8)[0].view(1, 8, 1, 1),
        'more channels than positions': features(3, 8, 2, 2, dtype=torch.float32),
        'one position': features(3, 8, 1, 1, dtype=torch.float32),
        'batch of one': features(1, 8, 4, 4, dtype=torch.float32),
    }


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('case', CASES)
def test_degenerate_features_stay_finite(name, case):
    x = degenerate()[case]
    value, grad = value_and_gradient(pooling(name, 8), x)
    assert value.isfinite().all()
    assert grad.isfinite().all()
    # The tangent vector that leads from the identity to the zero matrix is none.
    zero = {'pow_tmlr': -2, 'chol_tmlr': math.log(0.05)}.get(name, 0) * torch.eye(8)
    for n in range(len(x)):
        if not x[n].any():
            expected = layers.triangle(zero[None])[0]
            torch.testing.assert_close(value[n], expected.to(value))
            assert not grad[n].any()


@pytest.mark.parametrize('name', NAMES)
def test_a_dead_sample_leaves_its_neighbours_alone(name):
    module = pooling(name, 8).double()
    x = features(3, 8, 3, 3)
    x[1] = 0
    value, grad = value_and_gradient(module, x)
    living = [0, 2]
    out = module(x[living].requires_grad_())
    assert relative(value[living], out.detach()) < 1e-12
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(3, 36, generator=generator, dtype=torch.float64, device='cpu')
    leaf = x[living].detach().requires_grad_()
    module(leaf).backward(weight[living].to(x))
    assert relative(grad[living], leaf.grad) < 1e-12


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(name, dtype, device):
    module = pooling(name, 8)
    half = features(2, 8, 4, 4, dtype=dtype)
    head = torch.nn.Linear(36, 2)
    leaf = half.clone().requires_grad_()
    skip_without_autocast(device, dtype)
    with torch.autocast(device, dtype=dtype):
        out = module(leaf)
        head(out).sum().backward()
    assert out.dtype == torch.float32
    assert relative(out.detach(), module(half.float()).detach()) < 1e-6
    assert leaf.grad.dtype == dtype
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize('name', NAMES)
def test_half_precision_weights_get_half_precision_input(name):
    module = pooling(name, 8).to(torch.bfloat16)
    x = features(2, 8, 4, 4, dtype=torch.bfloat16)
    out = module(x)
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


@pytest.mark.parametrize('name', NAMES)
def test_memory_format_does_not_matter(name):
    module = pooling(name, 6).double()
    x = features(2, 6, 4, 4)
    value, grad = value_and_gradient(module, x)
    strided = torch.stack([x, x], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    for other in (x.to(memory_format=torch.channels_last), strided):
        other_value, other_grad = value_and_gradient(module, other)
        assert relative(other_value, value) < 1e-12
        assert relative(other_grad, grad) < 1e-11


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('positions', [4, 20])
def test_maps_to_the_tangent_space_equal_numpy(positions, dtype):
    """Also of singular covariances, which the published eps alone makes regular."""
    x = 5 * features(2, 8, positions)
    found = layers.CholTMLR().from_features(x.to(dtype))
    place = np.triu_indices(8)
    for sample, vector in zip(x.to(dtype), found, strict=True):
        matrix = np.cov(sample.double().cpu().numpy(), bias=True)
        factor = np.linalg.cholesky(matrix + 1e-6 * np.eye(8))
        expected = (factor + factor.T)[place]
        expected[place[0] == place[1]] = 2 * np.log(np.diag(factor))
        np.testing.assert_allclose(vector.cpu(), expected, rtol=1e-5, atol=1e-6)
    # From a float32 matrix, whose zero eigenvalues may have become negative.
    assert layers.CholTMLR()(layers.covariance(x.to(dtype))).isfinite().all()
    root = layers.NewtonSchulz().from_features(x)
    diagonal = torch.from_numpy(np.eye(8)[place]).to(root)
    assert relative(layers.ScalePowEMLR().from_features(x), 2 * root) < 1e-12
    assert relative(layers.PowTMLR().from_features(x), 2 * (root - diagonal)) < 1e-12


def test_parameters_have_plain_names():
    """They are keys of checkpoints."""
    assert list(layers.DropCov(4).state_dict()) == ['importance.weight']
    assert list(layers.SVPN(4).state_dict()) == ['start']
    assert list(layers.ScaleNorm(4).state_dict()) == []
    assert list(layers.ScaleNorm(4, learnable=True).state_dict()) == ['scale']
    assert list(layers.CovarianceLayerNorm(4).state_dict()) == ['weight', 'bias']

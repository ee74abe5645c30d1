"""torch.compile without a graph break, and the same numbers."""

import os

import pytest
import torch

from mmgcp import layers
from mmgcp.layers.dispatch import _COMPILES_FUNCTIONS

from .common import NAMES, Tail, features, normalizations, relative

ELSEWHERE = {
    'covariance': lambda: layers.Covariance(),
    'triangle': lambda: torch.nn.Sequential(layers.Covariance(), layers.Triangle()),
    'dropcov': lambda: Tail(None, layers.AdaptiveChannelDropout(8)),
    'root by eigenvalues': lambda: Tail(layers.NewtonSchulz(3, path='eigen')),
    'root of matrices': lambda: torch.nn.Sequential(
        layers.Covariance(), layers.NewtonSchulz(3)
    ),
    'power of matrices': lambda: torch.nn.Sequential(
        layers.Covariance(), layers.MatrixPower()
    ),
    'fixed': lambda: layers.FixedChannelDropout(0.5),
    'uniform': lambda: layers.UniformChannelDropout(1),
    'attention': lambda: layers.AttentionChannelDropout(8),
    'elements': lambda: layers.ElementDropout('ranked'),
}


def check(module, x, **kwargs):
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, **kwargs)
    results = []
    for function in (compiled, module):
        leaf = x.clone().requires_grad_()
        torch.manual_seed(0)
        out = function(leaf)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        results.append((out.detach(), leaf.grad))
    (value, grad), (expected, expected_grad) = results
    assert relative(value, expected) < 1e-5
    assert relative(grad, expected_grad) < 1e-3


@pytest.mark.parametrize('name', NAMES)
def test_normalisations(name):
    # aot_eager runs the whole tracing and differentiation and spares the C++ compiler
    x = features(2, 8, 4, 4, dtype=torch.float32) + torch.rand(2, 8, 4, 4)
    check(Tail(normalizations(8)[name]), x, backend='aot_eager')


@pytest.mark.parametrize('name', sorted(ELSEWHERE))
def test_other_layers(name):
    if name == 'root by eigenvalues' and not _COMPILES_FUNCTIONS:
        pytest.skip("torch before 2.6 compiles path='auto' only")
    x = features(2, 8, 4, 4, dtype=torch.float32)
    if name == 'elements':
        x = layers.triangle(layers.covariance(x))
    check(ELSEWHERE[name](), x, backend='aot_eager')


@pytest.mark.parametrize('name', ['newton_schulz_5', 'dropcov'])
def test_under_autocast(name):
    dropout = layers.AdaptiveChannelDropout(8) if name == 'dropcov' else None
    module = Tail(None if dropout else layers.NewtonSchulz(), dropout)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend='aot_eager')
    x = features(2, 8, 4, 4, dtype=torch.bfloat16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.manual_seed(0)
        out = compiled(x)
        torch.manual_seed(0)
        expected = module(x)
    assert out.dtype == expected.dtype
    assert relative(out, expected) < 1e-2


@pytest.mark.slow
@pytest.mark.skipif(
    'MMGCP_TEST_INDUCTOR' not in os.environ,
    reason='builds C++ for a minute: set MMGCP_TEST_INDUCTOR=1',
)
def test_generated_code():
    """The default compiler, which writes and builds C++."""
    check(Tail(layers.NewtonSchulz(3)), features(2, 8, 3, 3, dtype=torch.float32))

"""torch.compile without a graph break, and the same numbers."""

import os

import pytest
import torch

from .common import NORMALIZATIONS, features, pooling, relative

OTHERS = sorted(set(NORMALIZATIONS) - {'newton_schulz_5'})


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


@pytest.mark.parametrize('name', [*sorted(NORMALIZATIONS), 'dropcov'])
def test_pooling(name):
    # aot_eager runs the whole tracing and differentiation and spares the C++ compiler
    x = features(2, 8, 4, 4, dtype=torch.float32) + torch.rand(2, 8, 4, 4)
    check(pooling(name, 8), x, backend='aot_eager')


@pytest.mark.parametrize('name', ['newton_schulz_5', 'power_0.5'])
def test_the_side_of_few_positions(name):
    x = features(2, 8, 2, 3, dtype=torch.float32)
    check(pooling(name, 8), x, backend='aot_eager')


@pytest.mark.parametrize('name', ['newton_schulz_5', 'dropcov'])
def test_under_autocast(name, device):
    module = pooling(name, 8)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend='aot_eager')
    x = features(2, 8, 4, 4, dtype=torch.bfloat16)
    with torch.autocast(device, dtype=torch.bfloat16):
        torch.manual_seed(0)
        out = compiled(x)
        torch.manual_seed(0)
        expected = module(x)
    assert out.dtype == expected.dtype
    assert relative(out, expected) < 1e-2


@pytest.mark.parametrize(
    'name',
    [
        'newton_schulz_5',
        'dropcov',
        *(pytest.param(name, marks=pytest.mark.gpu) for name in OTHERS),
    ],
)
def test_a_second_batch_size_is_not_compiled_again(name, device):
    torch._dynamo.reset()
    backend = 'inductor' if device == 'cuda' else 'aot_eager'
    module = pooling(name, 8)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for batch in (3, 5):  # other than height and width
            x = features(batch, 8, 4, 4, dtype=torch.float32).requires_grad_()
            compiled(x).sum().backward()


@pytest.mark.slow
@pytest.mark.skipif(
    'MMGCP_TEST_INDUCTOR' not in os.environ,
    reason='builds C++ for a minute: set MMGCP_TEST_INDUCTOR=1',
)
def test_generated_code():
    """The default compiler, which writes and builds C++."""
    module = pooling('newton_schulz_2', 8)
    check(module, features(2, 8, 3, 3, dtype=torch.float32))

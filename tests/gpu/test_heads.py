"""Every pooling head at the sizes it is used at; smaller where there is no GPU."""

import re
from pathlib import Path

import pytest
import torch
from layers.common import (
    NORMALIZATIONS,
    features,
    pooling,
    relative,
    skip_without_autocast,
    value_and_gradient,
)

from benchmarks import timing
from benchmarks.pooling import pooling_variants

pytestmark = pytest.mark.usefixtures('device')
HEADS = [*NORMALIZATIONS, 'dropcov']
# torch waits for the device after each factorization, to look for errors.
FACTORIZED = ('power', 'logarithm', 'chol')
WITHOUT_FACTORS = [name for name in HEADS if not name.startswith(FACTORIZED)]
SIZES = [(32, 256, 14, 14), (32, 128, 14, 14), (8, 256, 7, 7)]
PAGE = Path(__file__).parents[2] / 'docs/performance.md'


def head(name, channels):
    """A head that draws nothing."""
    torch.manual_seed(0)
    return pooling(name, channels, max_rate=0.0)


@pytest.fixture(params=SIZES, ids=str)
def x(request, device):
    batch, channels, *size = request.param
    few = 1 if device == 'cuda' else 8
    return features(batch // few, channels // few, *size, dtype=torch.float32)


def errors(name, x):
    """Relative errors of value and gradient against float64 on the CPU."""
    module = head(name, x.size(1))
    found = value_and_gradient(module, x)
    module = module.to('cpu', torch.float64)
    with torch.device('cpu'):
        expected = value_and_gradient(module, x.cpu().double())
    return [relative(a.cpu(), b) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize('name', HEADS)
def test_float32_against_float64(name, x):
    value, gradient = errors(name, x)
    # The root of an entry near zero has a slope without limit.
    steep = name.startswith(('power', 'logarithm', 'elementwise'))
    assert value < (1e-4 if steep else 1e-5)
    assert gradient < (1e-2 if steep else 1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize('name', ['newton_schulz_5', 'dropcov'])
def test_tf32_keeps_two_digits(name, x, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, 'allow_tf32', True)
    assert max(errors(name, x)) < 1e-2


@pytest.mark.parametrize('scale', [1e-3, 1, 1e3])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', HEADS)
def test_mixed_precision(name, dtype, scale, device):
    """Gradients of the layer before the head, against float32."""
    skip_without_autocast(device, dtype)
    trunk, module = torch.nn.Conv2d(8, 16, 1, bias=False), head(name, 16)
    x = features(4, 8, 7, 7, dtype=torch.float32) * scale

    def loss():
        out = module(trunk(x).relu())
        assert out.dtype == torch.float32
        direction = torch.linspace(-1, 1, out.numel()).view_as(out)
        return (out * direction).sum() / out.detach().norm()

    (expected,) = torch.autograd.grad(loss(), trunk.weight)
    with_scaler = device == 'cuda' and dtype == torch.float16
    scaler = torch.cuda.amp.GradScaler(enabled=with_scaler)
    optimizer = torch.optim.SGD(trunk.parameters(), 0.0)
    for _ in range(30):  # the scaler halves its factor until nothing overflows
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype):
            value = loss()
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if trunk.weight.grad.isfinite().all():
            break
    assert trunk.weight.grad.isfinite().all()
    # The slope of a root at a covariance near zero is mostly rounding; that of the
    # Cholesky factor is so small there that float16 loses it without a scaler.
    lost = name == 'chol_tmlr' and scale < 1 and not with_scaler
    if not name.startswith('elementwise') and not lost:
        bound = 0.02 if dtype == torch.float16 else 0.15
        assert relative(trunk.weight.grad, expected) < bound


@pytest.mark.parametrize('name', HEADS)
def test_a_sample_does_not_depend_on_the_batch(name):
    module = head(name, 8)
    x = features(512, 8, 4, 4, dtype=torch.float32)
    value, gradient = value_and_gradient(module, x)
    assert gradient.isfinite().all()
    for place in (0, 511):
        assert relative(module(x[place : place + 1]), value[place : place + 1]) < 1e-4


@pytest.mark.parametrize('size', [(8, 256, 7, 7), *SIZES[:2]], ids=str)
def test_memory_is_that_of_the_page(size, device):
    if device == 'cpu' and size[0] > 8:
        pytest.skip('counted on a GPU: --device cuda')
    title = re.escape(f'pooling {size}, 5 steps')
    (text,) = re.findall(rf'{title}\n(.+?)(?:\n\n|```)', PAGE.read_text(), re.S)
    rows = [re.split(r'  +', line) for line in text.splitlines()]
    place = rows[0].index('peak MiB')
    counts = {row[0]: float(row[place]) for row in rows[2:]}
    for variant in pooling_variants(size, device=device):
        if variant.name in ('isqrt', 'exact root', 'dropcov'):
            timing.peak_bytes(variant.step, device)  # workspaces, indices, gradients
            peak = timing.peak_bytes(variant.step, device) / 2**20
            assert peak == pytest.approx(counts[variant.name], rel=0.1), variant.name


def step_of(name, batch=32):
    """Forward and backward of a head, and where its gradient is."""
    x = features(batch, 64, 14, 14, dtype=torch.float32).requires_grad_()
    module = head(name, 64)
    weight = torch.linspace(-1, 1, 64 * 65 // 2).expand(batch, -1)

    def step():
        x.grad = None
        module(x).backward(weight)

    step()
    return step, x


@pytest.mark.gpu
@pytest.mark.parametrize('name', WITHOUT_FACTORS)
def test_nothing_waits_for_the_device(name):
    step, _ = step_of(name)
    torch.cuda.set_sync_debug_mode('error')
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.gpu
@pytest.mark.parametrize('name', WITHOUT_FACTORS)
def test_the_number_of_kernels_does_not_grow_with_the_batch(name):
    few, many = (timing.kernels(step_of(name, batch)[0], 'cuda') for batch in (8, 256))
    # cuBLAS may split a product and add up its parts in a kernel of its own.
    assert many <= few + 4


@pytest.mark.gpu
@pytest.mark.parametrize('name', WITHOUT_FACTORS)
def test_a_graph_replays_what_was_captured(name):
    step, x = step_of(name)
    replay = timing.graphed(step)
    captured = x.grad
    x.data.copy_(features(*x.shape, seed=3))
    replay()
    replayed = captured.clone()
    step()
    assert relative(replayed, x.grad) < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize('name', HEADS)
def test_two_runs_are_equal_where_torch_is_asked_for_it(name, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    torch.use_deterministic_algorithms(True)
    try:
        step, x = step_of(name)
        first = x.grad
        step()
        assert torch.equal(first, x.grad)
    finally:
        torch.use_deterministic_algorithms(False)

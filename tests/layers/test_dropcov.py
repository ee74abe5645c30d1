"""DropCov: the rule of its rate, what it drops, and its degenerate inputs."""

import math

import pytest
import torch
import torch.distributed as dist
from torch.autograd import gradcheck

from mmgcp import layers

from .common import features, pooling, relative, skip_without_autocast


def module(channels=64, even=False, **kwargs):
    """A fresh module, with the same importance for all channels if ``even``."""
    torch.manual_seed(0)
    dropout = layers.DropCov(channels, **kwargs)
    if even:
        torch.nn.init.zeros_(dropout.importance.weight)
    return dropout


def strong_and_weak(batch, channels, size, **kwargs):
    """Channels of different strength, whose rate is neither 0 nor 1."""
    scale = torch.linspace(-2, 2, channels).exp().view(1, channels, 1, 1)
    x = features(batch, channels, size, size, **kwargs)
    return x * scale.to(x)


def test_rate_has_a_limit_and_no_gradient():
    x = strong_and_weak(3, 32, 4)
    assert 0.01 < module(32).double().rate(x) < 0.99
    assert not module(32).double().rate(x.requires_grad_()).requires_grad
    assert module(32, max_rate=0.01).double().rate(x).item() == pytest.approx(0.01)


def test_inference_is_the_identity():
    dropout = module().eval()
    x = strong_and_weak(2, 64, 4, dtype=torch.float32)
    assert dropout(x) is x


def test_mean_over_draws_follows_the_rule():
    """Kept counts are binomial: 5 standard deviations bound each statistic."""
    dropout = module()
    x = strong_and_weak(2, 64, 3, dtype=torch.float32) + 0.5
    with torch.no_grad():
        rate = dropout.rate(x).item()
        factors = (1 + dropout.channel_importance(x))[:, :, None, None]
        draws = torch.stack([dropout(x) / (x * factors) for _ in range(800)])
    assert 0.1 < rate < 0.9
    mask = draws[..., 0, 0]
    # One factor per sample and channel: 0 or 1 / (1 - rate) at every position.
    assert torch.allclose(draws, mask[..., None, None].expand_as(draws), atol=1e-4)
    kept = mask > 0
    assert torch.allclose(mask[kept], torch.tensor(1 / (1 - rate)), rtol=1e-4)
    count = kept.numel()
    bound = 5 * math.sqrt(rate * (1 - rate) / count)
    assert abs(kept.float().mean().item() - (1 - rate)) < bound
    per_channel = 5 * math.sqrt(rate * (1 - rate) / len(draws))
    assert (kept.float().mean(0) - (1 - rate)).abs().max() < per_channel
    # Samples are drawn independently: the correlation of their masks is 0.
    pair = ((kept[:, 0] == 1) & (kept[:, 1] == 1)).float().mean().item()
    spread = 5 * math.sqrt(1 / (4 * len(draws) * 64))
    assert abs(pair - (1 - rate) ** 2) < spread


def test_gradient_is_that_of_the_factors():
    """The convolution learns from x * (1 + a)."""
    dropout = module(8, max_rate=0.0).double()
    x = features(1, 8, 2, 2).requires_grad_()
    assert gradcheck(dropout, x)
    dropout(x).sum().backward()
    assert dropout.importance.weight.grad.abs().max() > 0


def test_a_rate_of_one_gives_zeros_and_no_nan():
    """The important channel goes against the sum of the others."""
    x = torch.zeros(2, 16, 4, 4)
    x[:, 0] = 30 + torch.arange(16.0).view(4, 4)
    x[:, 1] = 20 - 3 * torch.arange(16.0).view(4, 4)
    x.requires_grad_()
    dropout, limited = module(16), module(16, max_rate=0.5)
    for m in (dropout, limited):
        m.importance.weight.data.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
    assert dropout.rate(x) == 1
    out = dropout(x)
    out.sum().backward()
    assert not out.any()
    assert not x.grad.any()
    assert limited.rate(x) == 0.5
    kept = torch.stack([limited(x.detach()) for _ in range(20)])
    assert kept.any()


@pytest.mark.parametrize('case', ['zero', 'constant', 'one dead', 'one position'])
def test_an_undefined_cosine_gives_no_nan(case):
    x = strong_and_weak(2, 16, 4, dtype=torch.float32)
    if case == 'zero':
        x = torch.zeros_like(x)
    elif case == 'constant':
        x = torch.full_like(x, 0.7)
    elif case == 'one dead':
        x[0] = 0
    else:
        x = x[:, :, :1, :1]
    dropout = module(16)
    x.requires_grad_()
    rate = dropout.rate(x)
    assert rate == (dropout.rate(x[1:]) if case == 'one dead' else 0)
    out = dropout(x)
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad.isfinite().all()
    if case == 'one dead':
        assert not out[0].any()


@pytest.mark.parametrize('scale', [1e-12, 1e12])
def test_rate_does_not_depend_on_the_scale(scale):
    x = strong_and_weak(2, 64, 4, dtype=torch.float32)
    dropout = module(even=True)
    expected = dropout.rate(x)
    assert 0.01 < expected < 0.99
    assert torch.allclose(dropout.rate(x * scale), expected)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype, device):
    dropout = module(32)
    x = strong_and_weak(2, 32, 4, dtype=dtype) * 20
    skip_without_autocast(device, dtype)
    with torch.autocast(device, dtype=dtype):
        out = dropout(x)
        rate = dropout.rate(x)
    assert out.dtype == dtype
    assert out.isfinite().all()
    assert abs(rate.float() - dropout.rate(x.float())) < 1e-2
    assert module(32).to(dtype)(x).dtype == dtype


@pytest.mark.parametrize('layout', ['channels_last', 'strided', 'tokens'])
def test_memory_format_does_not_matter(layout):
    dropout = module(32, max_rate=0.0)
    x = strong_and_weak(2, 32, 4, dtype=torch.float32)
    expected = dropout(x)
    if layout == 'channels_last':
        other = dropout(x.to(memory_format=torch.channels_last))
    elif layout == 'strided':
        other = dropout(torch.stack([x, x], -1)[..., 0])
    else:
        other = dropout(x.flatten(2)).view_as(x)
    assert relative(other, expected) < 1e-6


def test_no_value_is_read_back(monkeypatch):
    """On an accelerator each of these would wait for the device."""

    def refuse(*args, **kwargs):
        raise AssertionError('a tensor was turned into a Python number')

    necks = [pooling('dropcov', 16), pooling('newton_schulz_5', 16)]
    x = strong_and_weak(2, 16, 4, dtype=torch.float32).requires_grad_()
    for name in ('item', '__bool__', '__float__', '__int__', 'tolist', 'numpy', 'cpu'):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    for neck in necks:
        neck(x).sum().backward()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match='at least 2'):
        layers.DropCov(1)
    with pytest.raises(ValueError, match='max_rate'):
        layers.DropCov(4, max_rate=1.5)
    with pytest.raises(ValueError, match='expected 4 channels'):
        layers.DropCov(4)(torch.zeros(1, 5, 2, 2))


def test_rate_over_two_processes_is_that_of_the_whole_batch(monkeypatch):
    """Unequal shares, and one process whose only sample has no cosine."""
    x = strong_and_weak(4, 32, 4)
    x[0] = 0
    dropout = module(32, sync_rate=True).double()
    whole = dropout.rate(x)
    assert 0.01 < whole < 0.99
    sent = []
    monkeypatch.setattr(dist, 'is_initialized', lambda: True)
    monkeypatch.setattr(dist, 'all_reduce', lambda sums: sent.append(sums.clone()))
    alone = [dropout.rate(share) for share in (x[:1], x[1:])]
    assert alone[0] == 0
    monkeypatch.setattr(dist, 'all_reduce', lambda sums: sums.copy_(sum(sent)))
    for share in (x[:1], x[1:]):
        assert abs(dropout.rate(share) - whole) < 1e-12

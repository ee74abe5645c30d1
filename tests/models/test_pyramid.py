"""The necks on the levels of a feature pyramid."""

import pytest
import torch

from mmgcp.layers import covariance
from mmgcp.registry import MODELS
from mmgcp.utils.errors import UserError

CHANNELS = [8, 16]


def levels(batch=2, dtype=torch.float32):
    torch.manual_seed(2)
    sizes = [(9, 7), (5, 4)]
    return tuple(
        torch.randn(batch, c, *size, dtype=dtype).relu()
        for c, size in zip(CHANNELS, sizes, strict=True)
    )


def build(kind, **kwargs):
    torch.manual_seed(1)
    return MODELS.build(dict(type=f'mmgcp.{kind}', in_channels=CHANNELS, **kwargs))


@pytest.mark.parametrize('initialized', [False, True])
@pytest.mark.parametrize('normalization', [None, dict(type='NewtonSchulz')])
def test_attention_starts_as_the_identity(initialized, normalization):
    net = build('SecondOrderAttention', normalization=normalization)
    if initialized:
        net.init_weights()
    x = levels()
    for mode in (True, False):
        outs = net.train(mode)(x)
        assert all(torch.equal(a, b) for a, b in zip(outs, x, strict=True))


def test_attention_is_what_it_says():
    net = build('SecondOrderAttention', reduced_channels=4).double()
    torch.nn.init.normal_(net.gates[1].weight.weight)
    x = levels(dtype=torch.float64)
    gate = net.gates[1]
    matrix = covariance(gate.reduction(x[1]))
    matrix = matrix / matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    weights = []
    for sample in matrix:
        rows = []
        for channel, row in enumerate(sample):
            for k in range(4):
                kernel = gate.rows.weight[4 * channel + k].flatten()
                rows.append((kernel @ row + gate.rows.bias[4 * channel + k]).relu())
        logits = gate.weight.weight[:, :, 0, 0] @ torch.stack(rows) + gate.weight.bias
        weights.append(2 * logits.sigmoid())
    expected = x[1] * torch.stack(weights)[..., None, None]
    torch.testing.assert_close(net(x)[1], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(('batch', 'factor'), [(1, 1), (2, 0)])
def test_attention_learns_on_one_image_and_on_dead_levels(batch, factor):
    net = build('SecondOrderAttention').train()
    x = tuple((factor * level).requires_grad_() for level in levels(batch))
    sum((out + 1).square().sum() for out in net(x)).backward()
    for tensor in (*net.parameters(), *x):
        assert torch.isfinite(tensor.grad).all()


def test_attention_leaves_the_identity_by_training():
    net = build('SecondOrderAttention').train()
    net.init_weights()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    x = levels()
    sum(out.square().mean() for out in net(x)).backward()
    optimizer.step()
    assert all(not torch.equal(a, b) for a, b in zip(net(x), x, strict=True))
    optimizer.zero_grad()
    sum(out.square().mean() for out in net(x)).backward()
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize('kind', ['SecondOrderAttention', 'AdaptiveChannelDropout'])
def test_autocast(kind, device):
    net = build(kind).train()
    with torch.autocast(device, torch.bfloat16):
        outs = net(tuple(x.bfloat16() for x in levels()))
    assert all(out.dtype == torch.bfloat16 for out in outs)
    assert all(torch.isfinite(out).all() for out in outs)


def test_dropout_is_free_at_inference_and_acts_on_its_levels_in_training():
    x = levels(batch=64)
    # Importance goes to one channel that hardly varies: the cosine is near zero and
    # the rate at its limit.
    x[1][:, 3] = 50 + 0.01 * x[1][:, 3]
    net = build('AdaptiveChannelDropout', levels=(1,), max_rate=0.7)
    assert list(net.state_dict()) == ['drops.1.importance.weight']
    outs = net.eval()(x)
    assert all(a is b for a, b in zip(outs, x, strict=True))
    net.drops[1].importance.weight.data = torch.tensor([[[0.0, 1.0, 0.0]]])
    low, high = net.train()(x)
    assert low is x[0]
    dropped = (high == 0).flatten(2).all(2) & (x[1] != 0).flatten(2).any(2)
    rate = net.drops[1].rate(x[1]).item()
    assert rate == pytest.approx(0.7)
    number = dropped.numel()
    assert abs(dropped.float().mean() - rate) < 4 * (rate * (1 - rate) / number) ** 0.5


@pytest.mark.parametrize('kind', ['SecondOrderAttention', 'AdaptiveChannelDropout'])
def test_wrong_use(kind):
    with pytest.raises(UserError, match=r'in_channels lists 2 levels'):
        build(kind, levels=(0, 2))
    with pytest.raises(UserError, match=r'set in_channels=\[16, 8\]'):
        build(kind)(levels()[::-1])

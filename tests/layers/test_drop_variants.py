import pytest
import torch

from mmgcp import layers

from .common import features

CHANNELS = 12


def variants():
    return {
        'fixed': layers.FixedChannelDropout(0.4),
        'uniform': layers.UniformChannelDropout(2),
        'eca': layers.AttentionChannelDropout(CHANNELS, keep=0.25),
        'eca_interval': layers.AttentionChannelDropout(CHANNELS, interval=1),
        'se': layers.AttentionChannelDropout(CHANNELS, attention='se', reduction=4),
        'random': layers.ElementDropout('random', keep=0.7),
        'largest': layers.ElementDropout('largest', keep=0.7),
        'uniform_elements': layers.ElementDropout('uniform', interval=2),
        'ranked': layers.ElementDropout('ranked', interval=1),
    }


def sample(module):
    x = features(2, CHANNELS, 3, 3, dtype=torch.float32) + 0.1
    return layers.triangle(layers.covariance(x)) if module.on_vector else x


@pytest.mark.parametrize('name', sorted(variants()))
def test_identity_at_inference_and_finite_in_training(name):
    module = variants()[name]
    x = sample(module)
    assert module.eval()(x) is x
    x = x.clone().requires_grad_()
    out = module.train()(x)
    out.sum().backward()
    assert out.shape == x.shape
    assert x.grad.isfinite().all()
    assert (out == 0).any()
    assert out.any()


def kept_channels(out):
    return (out.flatten(2) != 0).any(2)


def test_fixed_rate():
    module = layers.FixedChannelDropout(0.25)
    x = torch.ones(400, 100, 1, 1)
    out = module(x)
    values = out.unique()
    assert torch.allclose(values, torch.tensor([0, 4 / 3]))
    # 40,000 draws: five standard deviations are 0.011
    assert abs((out > 0).float().mean() - 0.75) < 0.011
    assert not layers.FixedChannelDropout(1.0)(x).any()


def test_uniform_channels_keep_one_of_each_group():
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        x = torch.ones(2, CHANNELS, 2, 2)
        kept = kept_channels(layers.UniformChannelDropout(2)(x))
        assert torch.equal(kept[0], kept[1])
        places = kept[0].nonzero().flatten()
        assert torch.equal(places.diff(), torch.full((3,), 3))
        seen.add(places[0].item())
    assert seen == {0, 1, 2}


def test_attention_keeps_what_it_ranks_first():
    module = layers.AttentionChannelDropout(CHANNELS, keep=0.25)
    with torch.no_grad():
        module.importance.weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
    x = torch.arange(1.0, CHANNELS + 1).view(1, -1, 1, 1).expand(2, -1, 2, 2)
    out = module(x)
    expected = x * x.sigmoid()
    assert torch.equal(kept_channels(out)[0], torch.arange(CHANNELS) >= 9)
    assert torch.allclose(out[:, 9:], expected[:, 9:])
    module.interval = 2
    ranking = torch.arange(CHANNELS).flip(0)
    assert torch.equal(kept_channels(module(x))[0], ranking % 3 == 0)


def test_elements():
    vector = torch.tensor([[3.0, -1.0, 5.0, 0.5, 4.0, -2.0]])
    largest = layers.ElementDropout('largest', keep=0.5)(vector)
    assert largest.tolist() == [[3, 0, 5, 0, 4, 0]]
    ranked = layers.ElementDropout('ranked', interval=2)(vector)
    assert ranked.tolist() == [[0, 0, 5, 0.5, 0, 0]]
    uniform = layers.ElementDropout('uniform', interval=1)(vector)
    assert uniform.tolist() in ([[3, 0, 5, 0, 4, 0]], [[0, -1, 0, 0.5, 0, -2]])


def test_bad_arguments_are_refused():
    for build, match in [
        (lambda: layers.FixedChannelDropout(1.5), 'rate'),
        (lambda: layers.UniformChannelDropout(0), 'interval'),
        (lambda: layers.AttentionChannelDropout(4, attention='cbam'), 'attention'),
        (lambda: layers.AttentionChannelDropout(4, keep=0), 'keep'),
        (lambda: layers.ElementDropout('smallest'), 'mode'),
    ]:
        with pytest.raises(ValueError, match=match):
            build()

"""mmgcp.SoViT: attention for large images, positions, levels, arguments."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmgcp.models import SoViT
from mmgcp.models.backbones.token_attention import TokenAttention
from mmgcp.models.backbones.token_grid import (
    interpolate_positions,
    rescale,
    sinusoidal_positions,
)

TINY = dict(embed_dims=16, num_layers=4, num_heads=2, mlp_ratio=2)


def attention(**kwargs):
    torch.manual_seed(1)
    return TokenAttention(8, 2, **kwargs).double()


def reference(net, x, allowed=None):
    """Attention from its definition, one head after the other."""
    q, k, v = net.qkv(x).chunk(3, -1)
    outs = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / 2
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -math.inf)
        outs.append(scores.softmax(-1) @ v[..., part])
    return net.proj(torch.cat(outs, -1))


@pytest.mark.parametrize('chunk_size', [None, 1, 7, 31, 1000])
def test_chunks_change_nothing(chunk_size):
    x = torch.randn(2, 31, 8, dtype=torch.float64)
    net = attention(chunk_size=chunk_size)
    torch.testing.assert_close(net(x, (5, 6)), reference(net, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize('size', [(6, 6), (5, 7), (3, 8), (1, 4)])
@pytest.mark.parametrize('window', [2, 3])
def test_windows_are_masks(size, window):
    rows, columns = torch.meshgrid(*map(torch.arange, size), indexing='ij')
    owner = ((rows // window) * 100 + columns // window).flatten()
    allowed = torch.ones(1 + owner.numel(), 1 + owner.numel(), dtype=torch.bool)
    allowed[1:, 1:] = owner[:, None] == owner
    net = attention(window_size=window)
    x = torch.randn(2, len(allowed), 8, dtype=torch.float64, requires_grad=True)
    found, expected = net(x, size), reference(net, x, allowed)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(found)
    gradients = [
        torch.autograd.grad((out * weights).sum(), x)[0] for out in (found, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_windows_larger_than_the_grid_are_global():
    x = torch.randn(1, 13, 8, dtype=torch.float64)
    net = attention(window_size=4)
    torch.testing.assert_close(net(x, (3, 4)), reference(net, x), rtol=0, atol=1e-12)


def test_global_blocks_by_default_at_the_quarters():
    net = SoViT('deit-small', window_size=14)
    windows = [i for i, b in enumerate(net.blocks) if b.attn.window_size is None]
    assert windows == [2, 5, 8, 11]
    net = SoViT(TINY, window_size=2, global_blocks=(3,))
    assert [b.attn.window_size for b in net.blocks] == [2, 2, 2, None]


def test_positions_of_pre_training_and_others():
    table = sinusoidal_positions(5, 6)
    for position in range(5):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            expected = torch.tensor([math.sin(angle), math.cos(angle)])
            torch.testing.assert_close(
                table[0, position, 2 * pair : 2 * pair + 2], expected
            )
    positions = sinusoidal_positions(17, 8)
    assert interpolate_positions(positions, (4, 4), (4, 4)) is positions
    other = interpolate_positions(positions, (4, 4), (6, 3))
    assert other.shape == (1, 19, 8)
    assert torch.equal(other[:, 0], positions[:, 0])
    # A linear ramp stays one, seen at every second of twice as many columns.
    ramp = torch.cat([torch.zeros(1), torch.arange(8.0).repeat(8)]).view(1, 65, 1)
    wide = interpolate_positions(ramp, (8, 8), (8, 16))[0, 1:, 0].view(8, 16)
    steps = wide[:, 5:12:2].diff(dim=1)
    torch.testing.assert_close(steps, torch.ones_like(steps))


def test_images_are_padded_to_whole_tokens():
    net = SoViT(TINY, img_size=64, out_type='featmap').eval()
    x = torch.randn(1, 3, 50, 40)
    padded = F.pad(x, (0, 8, 0, 14))
    with torch.no_grad():
        for a, b in zip(net(x), net(padded), strict=True):
            assert torch.equal(a, b)


def test_outputs():
    raw = SoViT(TINY, img_size=64).eval()
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        (tokens,) = raw(x)
        assert tokens.shape == (2, 1 + 4 * 3, 16)
        cls = SoViT(TINY, img_size=64, out_type='cls_token').eval()
        cls.load_state_dict(raw.state_dict())
        assert torch.equal(cls(x)[0], tokens[:, 0])
        maps = SoViT(TINY, img_size=64, out_type='featmap').eval()
        maps.load_state_dict(raw.state_dict())
        grid = tokens[:, 1:].transpose(1, 2).reshape(2, 16, 4, 3)
        assert torch.equal(maps(x)[3], F.max_pool2d(grid, 2, ceil_mode=True))
        assert maps.out_indices == (0, 1, 2, 3)
        plain = SoViT(TINY, img_size=64, out_type='featmap', scales=(1, 1, 1, 1))
        plain.load_state_dict(raw.state_dict())
        levels = plain.eval()(x)
    assert [tuple(level.shape[-2:]) for level in levels] == [(4, 3)] * 4
    assert torch.equal(levels[3], grid)


def test_rescaling():
    x = torch.arange(8.0).view(1, 1, 2, 4)
    assert rescale(x, 1) is x
    assert rescale(x, 4).shape == (1, 1, 8, 16)
    assert rescale(x, 0.5).flatten().tolist() == [5.0, 7.0]
    torch.testing.assert_close(rescale(x, 2).mean(), x.mean())


def test_the_norms_that_were_meant():
    official, meant = SoViT(TINY, img_size=64), SoViT(TINY, 64, official=False)
    extra = set(meant.state_dict()) - set(official.state_dict())
    assert not set(official.state_dict()) - set(meant.state_dict())
    assert all('.denselayer' in key and '.norm' in key for key in extra)
    # Two batch norms in each of the 3 x 6 layers, five tensors each.
    assert len(extra) == 2 * 18 * 5


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='deit'), 'deit-small'),
        (dict(arch=dict(embed_dims=8)), 'needs exactly'),
        (dict(out_type='map'), "'featmap'"),
        (dict(out_indices=(0, 12)), 'out of range for 12 blocks'),
        (dict(out_indices=(3, 1)), 'has to ascend'),
        (dict(frozen_stages=13), r'-1 \.\. 12'),
        (dict(out_type='featmap', out_indices=(1, 2)), 'differ in length'),
        (dict(arch={**TINY, 'num_heads': 3}), 'not a multiple'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoViT(**arguments)


@pytest.mark.parametrize('size', [(512, 512), (800, 1333)])
def test_sizes_of_detection_and_segmentation(size):
    operations = []
    for settings in (dict(), dict(window_size=14, chunk_size=1024)):
        with torch.device('meta'):
            net = SoViT('deit-small', out_type='featmap', **settings).eval()
            image = torch.empty(1, 3, *size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            levels = net(image)
        operations.append(counter.get_total_flops())
        for level, stride in zip(levels, net.out_strides, strict=True):
            padded = [math.ceil(s / 16) * 16 for s in size]
            assert level.shape == (1, 384, *(-(-s // stride) for s in padded))
    # Windows make the attention of eight blocks out of twelve linear.
    assert operations[1] < operations[0]

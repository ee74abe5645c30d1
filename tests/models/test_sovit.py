"""mmgcp.SoViT: attention, positions, levels, arguments."""

import math

import pytest
import torch
import torch.nn.functional as F

from mmgcp.models import SoViT
from mmgcp.models.backbones.sovit_layers import (
    interpolate_positions,
    rescale,
    sinusoidal_positions,
)
from mmgcp.utils.errors import UserError

TINY = dict(embed_dims=16, num_layers=4, num_heads=2, mlp_ratio=2)


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
        raw.out_type = 'cls_token'
        assert torch.equal(raw(x)[0], tokens[:, 0])
        maps = SoViT(TINY, img_size=64, out_type='featmap').eval()
        maps.load_state_dict(raw.state_dict())
        grid = tokens[:, 1:].transpose(1, 2).reshape(2, 16, 4, 3)
        assert torch.equal(maps(x)[3], F.max_pool2d(grid, 2, ceil_mode=True))
        assert maps.out_indices == (0, 1, 2, 3)
        maps.scales = (1, 1, 1, 1)
        levels = maps(x)
    assert [tuple(level.shape[-2:]) for level in levels] == [(4, 3)] * 4
    assert torch.equal(levels[3], grid)


def test_rescaling():
    x = torch.arange(8.0).view(1, 1, 2, 4)
    assert rescale(x, 1) is x
    assert rescale(x, 4).shape == (1, 1, 8, 16)
    assert rescale(x, 0.5).flatten().tolist() == [5.0, 7.0]
    torch.testing.assert_close(rescale(x, 2).mean(), x.mean())


def test_the_norms_that_the_authors_meant():
    released, meant = SoViT(TINY, 64), SoViT(TINY, 64, match_released_code=False)
    extra = set(meant.state_dict()) - set(released.state_dict())
    assert not set(released.state_dict()) - set(meant.state_dict())
    assert all('.denselayer' in key and '.norm' in key for key in extra)
    # Two batch norms in each of the 3 x 6 layers, five tensors each.
    assert len(extra) == 2 * 18 * 5


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch='deit'), 'deit-small'),
        (dict(arch=dict(embed_dims=8)), 'needs exactly'),
        (dict(out_type='map'), 'featmap'),
        (dict(out_indices=(0, 12)), r'within 0 .. 11'),
        (dict(out_indices=(3, 1)), 'ascend within'),
        (dict(frozen_stages=13), r'-1 \.\. 12'),
        (dict(out_type='featmap', out_indices=(1, 2)), 'differ in length'),
        (dict(arch={**TINY, 'num_heads': 3}), 'not a multiple'),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as info:
        SoViT(**arguments)
    assert isinstance(info.value, UserError)

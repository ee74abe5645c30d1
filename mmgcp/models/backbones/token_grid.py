"""Positions and scales of a grid of tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sinusoidal_positions(number: int, channels: int) -> Tensor:
    """Fixed position embedding of a sequence, ``(1, number, channels)``.

    Channel ``c`` of position ``p`` has the angle ``p / 10000^(2 floor(c / 2) / C)``;
    sine in the even channels, cosine in the odd ones.
    """
    index = torch.arange(channels, dtype=torch.float64)
    rates = 10000 ** (-2 * torch.div(index, 2, rounding_mode='floor') / channels)
    angles = torch.arange(number, dtype=torch.float64)[:, None] * rates
    table = torch.where(index % 2 == 0, angles.sin(), angles.cos())
    return table.float().unsqueeze(0)


def rescale(x: Tensor, scale: float) -> Tensor:
    """Rescale ``(B, C, H, W)``: bilinear upwards, max-pooling downwards."""
    if scale == 1:
        return x
    if scale > 1:
        return F.interpolate(
            x, scale_factor=float(scale), mode='bilinear', align_corners=False
        )
    step = round(1 / scale)
    return F.max_pool2d(x, step, step, ceil_mode=True)


def interpolate_positions(
    positions: Tensor, grid: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Interpolate a position embedding to another grid.

    Args:
        positions (Tensor): ``(1, 1 + H * W, C)``, the class token first.
        grid (tuple[int, int]): Its ``(H, W)``.
        size (tuple[int, int]): The wanted ``(H', W')``.

    Returns:
        Tensor: ``(1, 1 + H' * W', C)``, bicubic.
    """
    if size == grid:
        return positions
    first, patches = positions[:, :1], positions[:, 1:]
    patches = patches.transpose(1, 2).unflatten(2, grid).float()
    patches = F.interpolate(patches, size, mode='bicubic', align_corners=False)
    return torch.cat([first, patches.flatten(2).transpose(1, 2).to(first)], 1)

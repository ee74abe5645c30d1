"""Walks in weight space: random directions, and uphill within a radius."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .loss import SampleLoss


def filter_normalised(parameters: Sequence[Tensor], seed: int) -> Tensor:
    """Random direction ``(P,)`` with the length of each filter of the weights.

    H. Li et al., "Visualizing the Loss Landscape of Neural Nets" (NeurIPS
    2018): every filter (row of a linear layer) of a Gaussian direction gets the
    norm of the corresponding filter; vectors (biases, batch norm) stay put.
    """
    generator = torch.Generator().manual_seed(seed)
    pieces = []
    for parameter in parameters:
        weight = parameter.detach().double().cpu()
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if weight.dim() < 2:
            pieces.append(torch.zeros(weight.numel(), dtype=torch.float64))
            continue
        rows, wanted = direction.flatten(1), weight.flatten(1).norm(dim=1)
        scale = wanted / rows.norm(dim=1).clamp_min(1e-12)
        pieces.append((rows * scale[:, None]).reshape(-1))
    return torch.cat(pieces)


def along(
    loss: SampleLoss,
    directions: Sequence[Tensor],
    distances: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Loss on the grid of ``distances`` along one or more directions.

    Returns:
        np.ndarray: ``(len(distances),) * len(directions)``.
    """
    centre = loss.weights()
    shape = (len(distances),) * len(directions)
    values = np.empty(shape)
    for index in np.ndindex(*shape):
        offset = sum(
            distances[i] * direction
            for i, direction in zip(index, directions, strict=True)
        )
        with loss.at(centre + offset):
            values[index] = loss.value()
    return values


def sharpness(
    loss: SampleLoss, radii: Sequence[float], ascent_steps: int
) -> list[dict]:
    """Rise of the loss within a ball around the weights.

    The first step is that of P. Foret et al., "Sharpness-Aware Minimization"
    (ICLR 2021): to the ball's edge along the gradient. More steps of projected
    ascent follow, and the largest loss met counts: a lower bound of the
    maximum. A radius is in units of the norm of the weights that move.

    Returns:
        list[dict]: Per radius: ``radius``, ``one_step``, ``ascent``.
    """
    centre, base = loss.weights(), loss.value()
    size = float(centre.norm())
    gradient = loss.gradient()
    rows = []
    for radius in radii:
        length = radius * size
        offset = gradient * (length / gradient.norm().clamp_min(1e-30))
        rises = []
        for step in range(ascent_steps):
            with loss.at(centre + offset):
                rises.append(loss.value() - base)
                if step + 1 == ascent_steps:
                    break
                slope = loss.gradient()
            offset = offset + slope * (length / slope.norm().clamp_min(1e-30))
            offset = offset * (length / offset.norm().clamp_min(1e-30)).clamp_max(1.0)
        rows.append({'radius': radius, 'one_step': rises[0], 'ascent': max(rises)})
    return rows

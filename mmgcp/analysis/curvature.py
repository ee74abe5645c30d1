"""How flat is the minimum that a run ended in?

On a fixed sample of images, as a function of the weights of the encoder (the same in
number for every pooling head, so that runs compare) or of all weights:

- the largest eigenvalues and the trace of the Hessian of the loss;
- the loss along filter-normalized random directions, on a line and a plane;
- the rise of the loss within a radius.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .hessian import (
    NotTwiceDifferentiable,
    SampleLoss,
    hessian_product,
    hutchinson,
    lanczos,
)
from .output import color, figure, write_result
from .sample import RunSpec, Settings, sampled_runs

PARTS = {'backbone': 'backbone.', 'all': ''}
DEFAULT_RADII = (0.005, 0.01, 0.02)
TOP = 3
ASCENT_STEPS = 3


def curvature(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    part: str = 'backbone',
    lanczos_steps: int = 12,
    probes: int = 8,
    points: int = 15,
    grid: int = 7,
    span: float = 0.5,
    radii: Sequence[float] = DEFAULT_RADII,
) -> dict:
    """Measure every run; return and draw what ``curvature.json`` holds.

    With several processes the sample's batches are split, and gradients and Hessian
    products are summed.

    Args:
        settings: Sample and device; 64 training images for a classifier, else 4.
        part: ``'backbone'``, ``'all'``, or a prefix of parameter names.
        lanczos_steps: Hessian products for the eigenvalues.
        probes: Hessian products for the trace.
        points: Points on each line.
        grid: Points per side of the plane.
        span: Largest distance, in units of the direction.
        radii: Radii relative to the norm of the weights.
    """
    rows, seed = [], settings.seed
    for row, run, sample, advance in sampled_runs(
        'curvature', specs, settings, (64, 4), parts=4
    ):
        loss = SampleLoss(run.model, sample, PARTS.get(part, part), seed)
        value, gradient = loss.value(), loss.gradient()
        advance()

        try:
            product = hessian_product(loss)
            spectrum = lanczos(product, loss.numel, lanczos_steps, seed, TOP)
            trace = hutchinson(product, loss.numel, probes, seed + 1)
        except NotTwiceDifferentiable as error:
            spectrum = {'eigenvalues': [math.nan], 'residuals': [math.nan]}
            spectrum |= {'history': [], 'reason': str(error)}
            trace = {'trace': math.nan, 'standard_error': math.nan}
        advance()

        directions = [filter_normalized(loss.parameters, seed + 11 + i) for i in (0, 1)]
        line = np.linspace(-span, span, points)
        lines = [along(loss, [direction], line) for direction in directions]
        side = np.linspace(-span, span, grid)
        plane = along(loss, directions, side)
        advance()

        row |= {
            'seed': seed,
            'part': part,
            'parameters': loss.numel,
            'batch_norm': 'running statistics',
            'loss': value,
            'gradient_norm': float(gradient.norm()),
            'weight_norm': float(loss.weights().norm()),
            'hessian': spectrum,
            'trace': trace,
            'line': {'distance': line, 'loss': lines},
            'plane': {'distance': side, 'loss': plane},
            'sharpness': sharpness(loss, radii),
        }
        rows.append(row)
    return write_result({'analysis': 'curvature', 'runs': rows}, out, draw(rows))


def filter_normalized(parameters: Sequence[Tensor], seed: int) -> Tensor:
    """Random direction ``(P,)`` with the length of each filter of the weights.

    H. Li et al., "Visualizing the Loss Landscape of Neural Nets" (NeurIPS 2018): every
    filter (row of a linear layer) of a Gaussian direction gets the norm of the
    corresponding filter; vectors (biases, batch norm) stay put.
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
    loss: SampleLoss, directions: Sequence[Tensor], distances: np.ndarray
) -> np.ndarray:
    """Loss on the grid of ``distances`` along directions, one dimension for each."""
    center = loss.weights()
    values = np.empty((len(distances),) * len(directions))
    for index in np.ndindex(*values.shape):
        offset = sum(
            distances[i] * direction
            for i, direction in zip(index, directions, strict=True)
        )
        with loss.at(center + offset):
            values[index] = loss.value()
    return values


def sharpness(
    loss: SampleLoss, radii: Sequence[float], ascent_steps: int = ASCENT_STEPS
) -> list[dict]:
    """Rise of the loss within a ball around the weights.

    The first step is that of P. Foret et al., "Sharpness-Aware Minimization" (ICLR
    2021): to the ball's edge along the gradient. More steps of projected ascent follow,
    and the largest loss met counts: a lower bound of the maximum. A radius is in units
    of the norm of the weights that move.
    """
    center, base = loss.weights(), loss.value()
    size = float(center.norm())
    gradient = loss.gradient()
    rows = []
    for radius in radii:
        length = radius * size
        offset = gradient * (length / gradient.norm().clamp_min(1e-30))
        rises = []
        for step in range(ascent_steps):
            with loss.at(center + offset):
                rises.append(loss.value() - base)
                if step + 1 == ascent_steps:
                    break
                slope = loss.gradient()
            offset = offset + slope * (length / slope.norm().clamp_min(1e-30))
            offset = offset * (length / offset.norm().clamp_min(1e-30)).clamp_max(1.0)
        rows.append({'radius': radius, 'one_step': rises[0], 'ascent': max(rises)})
    return rows


def draw(rows: Sequence[dict]):
    """Eigenvalues and trace, lines, radii; below, each run's plane."""
    fig, axes = figure(max(4, len(rows)), 2)
    names = [row['label'] for row in rows]
    eigen, converge, line, rise = axes[0, :4]
    eigen.set_title('largest eigenvalue and trace')
    place = np.arange(len(rows))
    largest = [row['hessian']['eigenvalues'][0] for row in rows]
    eigen.bar(place - 0.2, largest, 0.4, color=[color(i) for i in range(len(rows))])
    eigen.set_ylabel('largest eigenvalue')
    other = eigen.twinx()
    other.errorbar(
        place + 0.2,
        [r['trace']['trace'] for r in rows],
        [2 * r['trace']['standard_error'] for r in rows],
        fmt='o',
        color='k',
        capsize=3,
    )
    other.set_ylabel('trace (2 standard errors)')
    eigen.set_xticks(place, names, rotation=30, ha='right', fontsize='small')
    converge.set_title('estimate of the largest eigenvalue')
    converge.set_xlabel('Hessian products')
    line.set_title('loss along random directions')
    line.set_xlabel('distance, filter-normalized')
    rise.set_title('rise of the loss within a radius')
    rise.set(xlabel='radius / norm of the weights', xscale='log', yscale='log')
    for index, row in enumerate(rows):
        style = {'color': color(index)}
        leading = [values[0] for values in row['hessian']['history']]
        converge.plot(range(1, len(leading) + 1), leading, label=row['label'], **style)
        for values in row['line']['loss']:
            line.plot(row['line']['distance'], np.asarray(values), **style)
        radii = [entry['radius'] for entry in row['sharpness']]
        rise.plot(radii, [e['ascent'] for e in row['sharpness']], 'o-', **style)
    converge.legend(fontsize='small')
    rise.set_xticks(radii, radii)
    rise.minorticks_off()
    for axis in axes[0, 4:]:
        axis.set_visible(False)
    _draw_planes(fig, axes[1], rows)
    return fig


def _draw_planes(fig, axes: Sequence, rows: Sequence[dict]) -> None:
    """The loss on each run's plane, with the same contours for all."""
    losses = [np.asarray(row['plane']['loss'], dtype=float) for row in rows]
    low = max(min(np.nanmin(loss) for loss in losses), 1e-6)
    high = max(max(np.nanmax(loss) for loss in losses), 1.01 * low)
    levels = np.geomspace(low, high, 13)
    for axis in axes[len(rows) :]:
        axis.set_visible(False)
    for axis, row, loss in zip(axes, rows, losses, strict=False):
        side = row['plane']['distance']
        drawn = axis.contourf(side, side, loss.T.clip(low, high), levels, norm='log')
        axis.set_title(f'loss on the plane: {row["label"]}', fontsize='small')
    bar = fig.colorbar(drawn, ax=list(axes), format='%.3g')
    bar.set_ticks(levels[::3])
    bar.minorticks_off()

"""How flat is the minimum that a run ended in?

The loss of a fixed sample of images is a function of the weights of the encoder (the
same in number for every pooling head, so that runs compare) or of all weights. Measured
are the largest eigenvalues and the trace of its Hessian, the loss along random
directions, and its rise within a radius.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmgcp.utils.run_specs import RunSpec

from .hessian import (
    NotTwiceDifferentiable,
    SampleLoss,
    hessian_product,
    hutchinson,
    lanczos,
)
from .output import figure, name_ticks, write_result
from .sample import Settings, sampled_runs

PARTS = {'backbone': 'backbone.', 'all': ''}
DEFAULT_RADII = (0.005, 0.01, 0.02)
TOP = 3


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

    The sample is 64 training images for a classifier, else 4. There are
    ``lanczos_steps`` Hessian products for the eigenvalues and ``probes`` for the trace,
    ``points`` on each line and ``grid`` on each side of the plane.

    Args:
        part: ``'backbone'``, ``'all'``, or a prefix of parameter names.
        span: Largest distance, in units of the direction.
        radii: Of sharpness, relative to the norm of the weights.
    """
    rows, seed = [], settings.seed
    for row, run, sample in sampled_runs('curvature', specs, settings, (64, 4)):
        loss = SampleLoss(run.model, sample, PARTS.get(part, part), seed)
        value, gradient = loss.value(), loss.gradient()

        try:
            product = hessian_product(loss)
            spectrum: dict = lanczos(product, loss.numel, lanczos_steps, seed, TOP)
            trace = hutchinson(product, loss.numel, probes, seed + 1)
        except NotTwiceDifferentiable as error:
            spectrum = dict.fromkeys(('eigenvalues', 'residuals'), [math.nan])
            spectrum |= {'history': [], 'reason': str(error)}
            trace = {'trace': math.nan, 'standard_error': math.nan}

        directions = [filter_normalized(loss.parameters, seed + 11 + i) for i in (0, 1)]
        line = np.linspace(-span, span, points)
        lines = [along(loss, [direction], line) for direction in directions]
        side = np.linspace(-span, span, grid)
        plane = along(loss, directions, side)

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
        rows = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        if weight.dim() < 2:
            rows = torch.zeros_like(weight)
        else:
            rows = F.normalize(rows.flatten(1)) * weight.flatten(1).norm(dim=1)[:, None]
        pieces.append(rows.reshape(-1))
    return torch.cat(pieces)


def along(
    loss: SampleLoss, directions: Sequence[Tensor], distances: np.ndarray
) -> np.ndarray:
    """Loss on the grid of ``distances`` along directions, one dimension for each."""
    center, basis = loss.weights(), torch.stack(list(directions))
    values = np.empty((len(distances),) * len(directions))
    for index in np.ndindex(*values.shape):
        with loss.at(center + torch.from_numpy(distances[list(index)]) @ basis):
            values[index] = loss.value()
    return values


def sharpness(
    loss: SampleLoss, radii: Sequence[float], ascent_steps: int = 3
) -> list[dict]:
    """Rise of the loss within a ball around the weights.

    The first step is that of P. Foret et al., "Sharpness-Aware Minimization" (ICLR
    2021): to the ball's edge along the gradient. More steps of projected ascent follow,
    and the largest loss met counts: a lower bound of the maximum.
    """
    center, base, gradient = loss.weights(), loss.value(), loss.gradient()
    rows = []
    for radius in radii:
        length = radius * center.norm()
        offset, slope, rises = torch.zeros_like(center), gradient, []
        for step in range(ascent_steps):
            offset = offset + length * F.normalize(slope, dim=0, eps=1e-30)
            offset = offset * (length / offset.norm().clamp_min(1e-30)).clamp_max(1.0)
            with loss.at(center + offset):
                rises.append(loss.value() - base)
                if step + 1 < ascent_steps:
                    slope = loss.gradient()
        rows.append({'radius': radius, 'one_step': rises[0], 'ascent': max(rises)})
    return rows


def draw(rows: Sequence[dict]):
    """Eigenvalues and trace, lines, radii; below, each run's plane."""
    fig, axes = figure(max(4, len(rows)), 2)
    eigen, converge, line, rise = axes[0, :4]
    eigen.set_title('largest eigenvalue and trace')
    place = np.arange(len(rows))
    largest = [row['hessian']['eigenvalues'][0] for row in rows]
    eigen.bar(place - 0.2, largest, 0.4, color=[f'C{i}' for i in range(len(rows))])
    eigen.set_ylabel('largest eigenvalue')
    other = eigen.twinx()
    traces = [row['trace']['trace'] for row in rows]
    errors = [2 * row['trace']['standard_error'] for row in rows]
    other.errorbar(place + 0.2, traces, errors, fmt='ko', capsize=3)
    other.set_ylabel('trace (2 standard errors)')
    name_ticks(eigen, [row['label'] for row in rows])
    converge.set_title('estimate of the largest eigenvalue')
    converge.set_xlabel('Hessian products')
    line.set_title('loss along random directions')
    line.set_xlabel('distance, filter-normalized')
    rise.set_title('rise of the loss within a radius')
    rise.set(xlabel='radius / norm of the weights', xscale='log', yscale='log')
    for index, row in enumerate(rows):
        style = {'color': f'C{index}'}
        leading = [values[0] for values in row['hessian']['history']]
        converge.plot(range(1, len(leading) + 1), leading, label=row['label'], **style)
        line.plot(row['line']['distance'], np.transpose(row['line']['loss']), **style)
        radii = [entry['radius'] for entry in row['sharpness']]
        rise.plot(radii, [e['ascent'] for e in row['sharpness']], 'o-', **style)
    converge.legend(fontsize='small')
    rise.set_xticks(radii, radii)
    rise.minorticks_off()
    # The same contours for the planes of all runs.
    losses = np.array([row['plane']['loss'] for row in rows])
    low = max(np.nanmin(losses), 1e-6)
    high = max(np.nanmax(losses), 1.01 * low)
    levels = np.geomspace(low, high, 13)
    for axis, row, loss in zip(axes[1], rows, losses.clip(low, high), strict=False):
        side = row['plane']['distance']
        drawn = axis.contourf(side, side, loss.T, levels, norm='log')
        axis.set_title(f'loss on the plane: {row["label"]}', fontsize='small')
    for axis in (*axes[0, 4:], *axes[1, len(rows) :]):
        axis.set_visible(False)
    bar = fig.colorbar(drawn, ax=list(axes[1]), format='%.3g')
    bar.set_ticks(levels[::3].tolist())
    bar.minorticks_off()
    return fig

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

from mmgcp.utils.errors import UserError
from mmgcp.utils.run_specs import RunSpec

from .hessian import (
    NotTwiceDifferentiable,
    SampleLoss,
    hessian_product,
    hutchinson,
    lanczos,
)
from .output import figure, name_ticks, write_result
from .sample import Settings, sample_batches, sampled_runs
from .variance import arms_of, check_seeds

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
    samples: int = 1,
    seeds: bool = False,
) -> dict:
    """Measure every run; return and draw what ``curvature.json`` holds.

    The sample is 64 training images for a classifier, else 4. There are
    ``lanczos_steps`` Hessian products for the eigenvalues and ``probes`` for the trace,
    ``points`` on each line and ``grid`` on each side of the plane.

    Args:
        part: ``'backbone'``, ``'all'``, or a prefix of parameter names.
        span: Largest distance, in units of the direction.
        radii: Of sharpness, relative to the norm of the weights.
        samples: Samples of images without a common one. The first is drawn; eigenvalue,
            trace and rise are measured on each, with random vectors of its own.
        seeds: Runs of one label are seeds of one arm, see :func:`.variance.arms_of`.

    Raises:
        UserError: There are too few images, or labels with different numbers of seeds.
    """
    counts = {'--lanczos-steps': (lanczos_steps, 1), '--probes': (probes, 1)}
    counts |= {'--samples': (samples, 1), '--points': (points, 2), '--grid': (grid, 2)}
    for option, (count, least) in counts.items():
        if count < least:
            raise UserError(f'{option} {count}: at least {least}')
    check_seeds(specs, seeds)
    rows, seed = [], settings.seed
    for row, run, sample in sampled_runs('curvature', specs, settings, (64, 4)):
        size = sample.description
        number, batch = size['images'], size['batch_size']
        others = [
            sample_batches(run, size['split'], number, batch, seed, place=place)
            for place in range(1, samples)
        ]
        losses = [
            SampleLoss(run.model, images, PARTS.get(part, part), seed)
            for images in (sample, *others)
        ]
        shapes = [
            local_shape(loss, seed + 1000 * place, lanczos_steps, probes, radii)
            for place, loss in enumerate(losses)
        ]
        row |= shapes[0]
        row['measures'] = {
            'largest eigenvalue': [s['hessian']['eigenvalues'][0] for s in shapes],
            'trace': [s['trace']['trace'] for s in shapes],
            f'rise within {radii[-1]:g}': [
                s['sharpness'][-1]['ascent'] for s in shapes
            ],
        }

        loss = losses[0]
        directions = [filter_normalized(loss.parameters, seed + 11 + i) for i in (0, 1)]
        line = np.linspace(-span, span, points)
        lines = [along(loss, [direction], line) for direction in directions]
        side = np.linspace(-span, span, grid)
        plane = along(loss, directions, side)

        row |= {
            'part': part,
            'parameters': loss.numel,
            'weight_norm': float(loss.weights().norm()),
            'line': {'distance': line, 'loss': lines},
            'plane': {'distance': side, 'loss': plane},
        }
        rows.append(row)
    arms = arms_of(rows, seeds)
    result = {'analysis': 'curvature', 'runs': rows, 'arms': arms}
    first = {row['label']: row for row in reversed(rows)}
    shown = [first[arm['label']] for arm in arms] if seeds else rows
    return write_result(result, out, draw(shown, arms))


def local_shape(
    loss: SampleLoss,
    seed: int,
    lanczos_steps: int,
    probes: int,
    radii: Sequence[float],
) -> dict:
    """Loss, Hessian and rise of one sample of images, with random vectors of a seed."""
    try:
        product = hessian_product(loss)
        spectrum: dict = lanczos(product, loss.numel, lanczos_steps, seed, TOP)
        trace = hutchinson(product, loss.numel, probes, seed + 1)
    except NotTwiceDifferentiable as error:
        spectrum = dict.fromkeys(('eigenvalues', 'residuals'), [math.nan])
        spectrum |= {'history': [], 'reason': str(error)}
        trace = {'trace': math.nan, 'standard_error': math.nan}
    return {
        'loss': loss.value(),
        'gradient_norm': float(loss.gradient().norm()),
        'hessian': spectrum,
        'trace': trace,
        'sharpness': sharpness(loss, radii),
    }


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


def draw(rows: Sequence[dict], arms: Sequence[dict]):
    """Eigenvalues and trace of each arm; lines, radii and plane of its first run."""
    fig, axes = figure(max(4, len(rows)), 2)
    eigen, converge, line, rise = axes[0, :4]
    eigen.set_title('largest eigenvalue and trace')
    place = np.arange(len(rows))
    bars, dots = (
        [arm['measures'][name] for arm in arms]
        for name in ('largest eigenvalue', 'trace')
    )
    # Only an error of seeds and images is drawn.
    errors = [
        [2 * (found['standard_error'] or math.nan) for found in each]
        for each in (bars, dots)
    ]
    style = {'color': [f'C{i}' for i in range(len(rows))], 'yerr': errors[0]}
    eigen.bar(place - 0.2, [found['mean'] for found in bars], 0.4, **style)
    eigen.set_ylabel('largest eigenvalue')
    other = eigen.twinx()
    means = [found['mean'] for found in dots]
    other.errorbar(place + 0.2, means, errors[1], fmt='ko', capsize=3)
    other.set_ylabel('trace (2 standard errors, if known)')
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
    finite = losses[np.isfinite(losses)]
    low = max(finite.min(), 1e-6)
    high = max(finite.max(), 1.01 * low)
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

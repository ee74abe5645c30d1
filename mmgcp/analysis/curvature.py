"""Flatness of the minimum that a run ended in.

On a fixed sample of images, as a function of the weights of the encoder (the
same in number for every pooling head, so that runs compare) or of all weights:

- the largest eigenvalues and the trace of the Hessian of the loss;
- the loss along filter-normalised random directions, on a line and a plane;
- the rise of the loss within a radius.

Batch-norm layers use their running statistics unless asked otherwise, dropout
is off, and a two-stage detector keeps the proposals of its own weights.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .directions import along, filter_normalised, sharpness
from .hessian import hessian_product, hutchinson, lanczos
from .loss import SampleLoss
from mmgcp.utils.files import write_json
from .output import colour, figure, save_figure
from mmgcp.engine.distributed import is_main
from .runs import RunSpec
from .sampled import sampled_runs

PARTS = {'backbone': 'backbone.', 'all': ''}
DEFAULT_RADII = (0.005, 0.01, 0.02)


def curvature(
    specs: Sequence[RunSpec],
    out: str | Path,
    images: int | None = None,
    batch_size: int | None = None,
    split: str = 'train',
    part: str = 'backbone',
    batch_norm: str = 'eval',
    top: int = 3,
    lanczos_steps: int = 12,
    probes: int = 8,
    points: int = 15,
    grid: int = 7,
    span: float = 0.5,
    radii: Sequence[float] = DEFAULT_RADII,
    ascent_steps: int = 3,
    engine: str = 'auto',
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
) -> dict:
    """Measure the flatness of each run and compare them in one picture.

    With several processes the sample's batches are split, and gradients and
    Hessian products are summed.

    Args:
        specs (Sequence[RunSpec]): The runs.
        out (str | Path): Folder of ``curvature.json`` and ``curvature.png``.
        images (int, optional): Defaults to 64 for a classifier, 4 otherwise.
        batch_size (int, optional): Defaults to 32, and 4.
        split (str): Whose data loader the sample comes from.
        part (str): ``'backbone'``, ``'all'``, or a prefix of parameter names.
        batch_norm (str): ``'eval'`` (running statistics) or ``'train'``.
        top (int): Eigenvalues to report.
        lanczos_steps (int): Hessian products for the eigenvalues.
        probes (int): Hessian products for the trace.
        points (int): Points on each line.
        grid (int): Points per side of the plane; 0 for no plane.
        span (float): Largest distance, in units of the direction.
        radii (Sequence[float]): Radii relative to the norm of the weights.
        ascent_steps (int): Steps of ascent per radius.
        engine (str): See :func:`~mmgcp.analysis.hessian.hessian_product`.
        seed (int): Seed of sample, probes and directions.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.

    Returns:
        dict: What ``curvature.json`` holds.
    """
    rows = []
    for row, run, sample, advance in sampled_runs(
        'curvature',
        specs,
        (64, 4),
        split,
        images,
        batch_size,
        seed,
        options,
        device,
        parts=4,
    ):
        loss = SampleLoss(run.model, sample, PARTS.get(part, part), batch_norm, seed)
        value, gradient = loss.value(), loss.gradient()
        advance()

        product, products = hessian_product(loss, engine)
        spectrum = lanczos(product, loss.numel, lanczos_steps, seed, top)
        spectrum.pop('vector')
        trace = hutchinson(product, loss.numel, probes, seed + 1)
        advance()

        directions = [
            filter_normalised(loss.parameters, seed + 11 + i) for i in range(2)
        ]
        line = np.linspace(-span, span, points)
        lines = [along(loss, [direction], line) for direction in directions]
        side = np.linspace(-span, span, grid)
        plane = along(loss, directions, side) if grid else None
        advance()

        row |= {
            'seed': seed,
            'part': part,
            'parameters': loss.numel,
            'batch_norm': {
                'eval': 'running statistics',
                'train': 'statistics of each batch',
            }[batch_norm],
            'loss': value,
            'gradient_norm': float(gradient.norm()),
            'weight_norm': float(loss.weights().norm()),
            'hessian_products': products,
            'hessian': spectrum,
            'trace': trace,
            'line': {'distance': line, 'loss': lines},
            'plane': {'distance': side, 'loss': plane},
            'sharpness': sharpness(loss, radii, ascent_steps),
        }
        rows.append(row)
    result = {'analysis': 'curvature', 'runs': rows}
    if is_main():
        write_json(Path(out) / 'curvature.json', result)
        save_figure(draw(rows), Path(out) / 'curvature.png')
    return result


def draw(rows: Sequence[dict]):
    """Eigenvalues and trace, lines, radii; below, each run's plane."""
    planes = [row for row in rows if row['plane']['loss'] is not None]
    columns = max(4, len(planes))
    fig, axes = figure(columns, 2 if planes else 1)
    names = [row['label'] for row in rows]
    eigen, converge, line, rise = axes[0, :4]
    eigen.set_title('largest eigenvalue and trace')
    place = np.arange(len(rows))
    largest = [row['hessian']['eigenvalues'][0] for row in rows]
    eigen.bar(place - 0.2, largest, 0.4, color=[colour(i) for i in range(len(rows))])
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
    line.set_xlabel('distance, filter-normalised')
    rise.set_title('rise of the loss within a radius')
    rise.set(xlabel='radius / norm of the weights', xscale='log', yscale='log')
    for index, row in enumerate(rows):
        style = {'color': colour(index)}
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
    if planes:
        _draw_planes(fig, axes[1], planes)
    return fig


def _draw_planes(fig, axes: Sequence, planes: Sequence[dict]) -> None:
    """The loss on each run's plane, with the same contours for all."""
    losses = [np.asarray(row['plane']['loss'], dtype=float) for row in planes]
    low = max(min(np.nanmin(loss) for loss in losses), 1e-6)
    high = max(max(np.nanmax(loss) for loss in losses), 1.01 * low)
    levels = np.geomspace(low, high, 13)
    for axis in axes[len(planes) :]:
        axis.set_visible(False)
    for axis, row, loss in zip(axes, planes, losses, strict=False):
        side = row['plane']['distance']
        drawn = axis.contourf(side, side, loss.T.clip(low, high), levels, norm='log')
        axis.set_title(f'loss on the plane: {row["label"]}', fontsize='small')
    bar = fig.colorbar(drawn, ax=list(axes), format='%.3g')
    bar.set_ticks(levels[::3])
    bar.minorticks_off()

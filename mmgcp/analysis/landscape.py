"""Loss along the gradient of the stem's output.

The measure of Q. Wang et al., "What Deep CNNs Benefit from Global Covariance
Pooling: An Optimization Perspective" (CVPR 2020), after S. Santurkar et al.,
"How Does Batch Normalization Help Optimization?" (NeurIPS 2018). With ``X``
the output of the stem on one batch and ``g`` the gradient of the loss there:

- loss: ``L(X + eta g)`` for a range of step sizes ``eta``;
- gradient change (predictiveness): ``||grad L(X + eta g) - g||``;
- effective beta-smoothness: the largest ``||grad L(X + eta g) - g|| /
  ||eta g||`` over the range.

Stable means that all of them stay small and change little with ``eta``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmgcp.engine.landscape import DEFAULT_STEPS, measure_batch, merge
from mmgcp.utils.files import read_json, write_json
from .output import colour, figure, save_figure
from mmgcp.engine.distributed import gather, is_main
from .runs import RunSpec
from .sampled import sampled_runs


def landscape(
    specs: Sequence[RunSpec],
    out: str | Path,
    steps: tuple[float, float, int] = DEFAULT_STEPS,
    images: int | None = None,
    batch_size: int | None = None,
    split: str = 'train',
    stem: str | None = None,
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
) -> dict:
    """Measure saved checkpoints, or read what :class:`LandscapeHook` wrote.

    A checkpoint that is a ``.json`` file is taken as the hook's record.
    Several checkpoints under one label make a band over training. Batches are
    split over processes.

    Args:
        specs (Sequence[RunSpec]): The runs.
        out (str | Path): Folder of ``landscape.json`` and ``landscape.png``.
        steps (tuple): First step size, last one, their number.
        images (int, optional): Defaults to 64 for a classifier, 4 otherwise.
        batch_size (int, optional): Defaults to 32, and 4.
        split (str): Whose data loader the sample comes from.
        stem (str, optional): Module to move, see
            :func:`~mmgcp.engine.landscape.stem_module`.
        seed (int): Seed of the sample.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.

    Returns:
        dict: What ``landscape.json`` holds.
    """
    etas = np.linspace(*steps).tolist()
    recorded = [spec for spec in specs if spec.checkpoint.endswith('.json')]
    rows = [
        {'label': spec.label, 'from': 'training', **entry}
        for spec in recorded
        for entry in read_json(spec.checkpoint)['entries']
    ]
    saved = [spec for spec in specs if spec not in recorded]
    for row, run, sample, _ in sampled_runs(
        'landscape', saved, (64, 4), split, images, batch_size, seed, options, device
    ):
        run.model.train()
        batches = gather(
            [measure_batch(run.model, b, etas, stem, seed) for b in sample.batches]
        )
        row |= {
            'from': 'checkpoint',
            'batch_norm': 'statistics of the batch',
            **merge(batches),
            'batches': batches,
        }
        rows.append(row)
    order = [spec.label for spec in specs]
    rows.sort(key=lambda row: order.index(row['label']))
    result = {'analysis': 'landscape', 'steps': list(steps), 'runs': rows}
    if is_main():
        write_json(Path(out) / 'landscape.json', result)
        save_figure(draw(rows), Path(out) / 'landscape.png')
    return result


def draw(rows: Sequence[dict]):
    """Curves over the step size, or bands over training where there are several."""
    labels = list(dict.fromkeys(row['label'] for row in rows))
    titles = {
        'loss': 'loss',
        'gradient_change': 'change of the gradient',
        'beta': 'effective beta',
    }
    fig, axes = figure(3)
    for axis, (name, title) in zip(axes[0], titles.items(), strict=True):
        axis.set_title(title)
        for index, label in enumerate(labels):
            series = [row for row in rows if row['label'] == label]
            style = {'color': colour(index), 'label': label}
            if len(series) == 1:
                axis.plot(series[0]['eta'], series[0][name], **style)
                axis.set_xlabel('step size eta')
                continue
            series.sort(key=lambda row: row['iteration'] or 0)
            x = [row['iteration'] or 0 for row in series]
            if name == 'beta':
                axis.plot(x, [row['effective_beta'] for row in series], **style)
            else:
                bands = np.array([row[f'{name}_band'] for row in series], float)
                axis.fill_between(x, bands[:, 0], bands[:, 1], alpha=0.4, **style)
            axis.set_xlabel('iteration')
    axes[0, 0].legend(fontsize='small')
    return fig

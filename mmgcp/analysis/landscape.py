"""Is the loss smooth along the gradient of the stem's output?

The measure itself is :mod:`mmgcp.engine.landscape`, where a hook also takes it while
training. Stable means that loss, gradient change and effective beta stay small and
change little with the step size.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmgcp.engine.distributed import gather
from mmgcp.engine.landscape import CURVES, Steps, measure_batch, merge
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import read_json
from mmgcp.utils.run_specs import RunSpec

from .output import figure, write_result
from .sample import Settings, sampled_runs
from .variance import arms_of, check_seeds


def landscape(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    steps: Steps | None = None,
    stem: str | None = None,
    seeds: bool = False,
) -> dict:
    """Measure saved checkpoints, or read what a ``LandscapeHook`` recorded.

    A checkpoint that is a ``.json`` file is taken as the hook's record. Several
    checkpoints under one label make a band over training, or with ``seeds`` are seeds of
    one arm, see :func:`.variance.arms_of`. Returns and draws what ``landscape.json``
    holds. The sample is 64 training images for a classifier, else 4, in batches.
    ``steps`` and ``stem`` are those of :func:`~mmgcp.engine.landscape.measure_batch`.
    """
    check_seeds(specs, seeds)
    recorded = [spec for spec in specs if spec.checkpoint.endswith('.json')]
    if seeds and recorded:
        raise UserError(
            f'--seeds: {recorded[0].checkpoint} is a record of a training, which has no '
            'batches to compare; give checkpoints'
        )
    rows = [
        {'label': spec.label, **entry}
        for spec in recorded
        for entry in read_json(spec.checkpoint)['entries']
    ]
    saved = [spec for spec in specs if spec not in recorded]
    for row, run, sample in sampled_runs('landscape', saved, settings, (64, 4)):
        run.model.train()
        found = [
            measure_batch(run.model, batch, steps, stem, settings.seed)
            for batch in sample.batches
        ]
        batches = gather(found)
        row |= merge(batches)
        row['measures'] = {
            'effective beta': [batch['effective_beta'] for batch in batches],
            'mean loss': [np.mean(batch['loss']) for batch in batches],
        }
        rows.append(row)
    order = [spec.label for spec in specs]
    rows.sort(key=lambda row: order.index(row['label']))
    arms = arms_of(rows, seeds) if seeds else []
    result = {'analysis': 'landscape', 'runs': rows, 'arms': arms}
    return write_result(result, out, draw(rows, seeds))


def draw(rows: Sequence[dict], seeds: bool = False):
    """Curves over the step size, or bands over training where there are several.

    Of ``seeds`` the mean curve is drawn, with the range of the seeds.
    """
    labels = list(dict.fromkeys(row['label'] for row in rows))
    titles = ('loss', 'change of the gradient', 'effective beta')
    fig, axes = figure(3)
    for axis, name, title in zip(axes[0], CURVES, titles, strict=True):
        axis.set_title(title)
        for index, label in enumerate(labels):
            series = [row for row in rows if row['label'] == label]
            style = {'color': f'C{index}', 'label': label}
            if len(series) == 1 or seeds:
                eta, curves = series[0]['eta'], np.array([row[name] for row in series])
                axis.plot(eta, curves.mean(0), **style)
                axis.fill_between(
                    eta, curves.min(0), curves.max(0), color=f'C{index}', alpha=0.2
                )
                axis.set_xlabel('step size eta')
                continue
            x = [row.get('iteration', place) for place, row in enumerate(series)]
            if name == 'beta':
                axis.plot(x, [row['effective_beta'] for row in series], **style)
            else:
                bands = np.array([row[f'{name}_band'] for row in series], float)
                axis.fill_between(x, bands[:, 0], bands[:, 1], alpha=0.4, **style)
            known = 'iteration' in series[0]
            axis.set_xlabel('iteration' if known else 'checkpoint, as given')
    axes[0, 0].legend(fontsize='small')
    return fig

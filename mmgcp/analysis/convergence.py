"""How fast do runs come to their result?

From the logs that mmengine writes while training: the curve of the validation metric,
the area under it, and the matching epoch, the first at which one run reaches what
another one ends with. Runs of one label are seeds of one curve.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import trapezoid

from mmgcp.engine.training_log import read_training_log
from mmgcp.utils.config import load_config
from mmgcp.utils.progress import track
from mmgcp.utils.run_specs import RunSpec

from .output import color_of, figure, main_metric, write_result
from .sample import Settings

# What every validation record holds beside metrics.
NOT_METRICS = {'step', 'time', 'data_time', 'epoch', 'iter', 'memory', 'lr'}
#: Tables of a study: the mean height of the validation curve, and when it reaches what
#: the baseline ends with.
CONVERGENCE, MATCHING = 'convergence', 'matching'
#: Name of the curve whose steps are always iterations.
TRAINING_LOSS = 'training loss'
#: Of one kind, by encoder and seed: ``[step, value]``.
Curves = dict[str, dict[int, list]]


def convergence(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    metric: str | None = None,
) -> dict:
    """Compare training curves; return and draw what ``convergence.json`` holds.

    The checkpoint of a run tells where its log is, see
    :func:`~mmgcp.engine.training_log.read_training_log`. ``metric`` is by default the
    framework's main one. Runs are compared with those of the same metric. Of the
    settings only ``options`` count.
    """
    seeds: dict = defaultdict(lambda: defaultdict(list))
    for spec in track(specs, 'convergence'):
        curves = read_curves(spec.checkpoint)
        name = main_metric(curves, metric, spec.checkpoint)
        steps, values = zip(*sorted(curves[name].items()), strict=True)
        train_cfg = load_config(spec.config, settings.options).get('train_cfg') or {}
        by_epoch = train_cfg.get('by_epoch', 'Iter' not in str(train_cfg.get('type')))
        seeds[name][spec.label].append(
            {
                'log': spec.checkpoint,
                'unit': 'epoch' if by_epoch else 'iteration',
                'steps': list(steps),
                'values': list(values),
                'area_under_curve': area_under(steps, values),
                'final': values[-1],
            }
        )
    metrics = {
        name: {label: summarize_seeds(found) for label, found in labels.items()}
        for name, labels in seeds.items()
    }
    for rows in metrics.values():
        for label, row in rows.items():
            row['matching'] = {
                other: match(row, rows[other]) for other in rows if other != label
            }
    result = {'analysis': 'convergence', 'metrics': metrics}
    return write_result(result, out, draw(metrics))


def read_curves(log: str | Path) -> dict[str, dict[int, float]]:
    """Validation metrics by step."""
    return validation_curves(read_training_log(log))


def validation_curves(records: Sequence[dict]) -> dict[str, dict[int, float]]:
    """Metrics by step among the records of a run."""
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for record in records:
        if 'loss' in record:  # of a training step
            continue
        for name, value in record.items():
            if name not in NOT_METRICS and isinstance(value, int | float):
                curves[name][int(record['step'])] = float(value)
    return dict(curves)


def area_under(steps: Sequence[float], values: Sequence[float]) -> float:
    """Mean height of a curve: trapezoids over the span of its steps."""
    if len(steps) < 2:
        return float(values[0])
    return float(trapezoid(values, steps) / (steps[-1] - steps[0]))


def matching_step(
    steps: Sequence[float], values: Sequence[float], target: float
) -> float | None:
    """First step at which a curve reaches ``target``; ``None`` if it never does."""
    pairs = zip(steps, values, strict=True)
    return next((step for step, value in pairs if value >= target), None)


def summarize_seeds(seeds: Sequence[dict]) -> dict:
    """Mean curve with its spread, over the steps that all seeds have."""
    curves = [dict(zip(s['steps'], s['values'], strict=True)) for s in seeds]
    shared = sorted(set.intersection(*map(set, curves)))
    row: dict = {
        'unit': seeds[0]['unit'],
        'number_of_seeds': len(seeds),
        'steps': shared,
        'seeds': seeds,
    }
    numbers = {'mean': [[curve[step] for step in shared] for curve in curves]}
    numbers |= {key: [s[key] for s in seeds] for key in ('area_under_curve', 'final')}
    for key, values in numbers.items():
        row[key] = np.mean(values, axis=0)
        std = 'std' if key == 'mean' else f'{key}_std'
        row[std] = np.std(values, axis=0, ddof=1) if len(seeds) > 1 else None
    return row


def match(row: dict, other: dict) -> dict:
    """When the mean curve of ``row`` reaches the final mean value of ``other``.

    Runs with as many seeds are matched pair by pair as well.
    """
    step = matching_step(row['steps'], row['mean'], other['final'])
    result = {'target': other['final'], 'step': step}
    if row['number_of_seeds'] == other['number_of_seeds'] > 1:
        pairs = zip(row['seeds'], other['seeds'], strict=True)
        result['per_seed'] = [
            matching_step(a['steps'], a['values'], b['final']) for a, b in pairs
        ]
    return result


def draw(metrics: dict):
    """One panel per metric: mean curves with one standard deviation."""
    fig, axes = figure(len(metrics))
    for axis, (name, rows) in zip(axes[0], metrics.items(), strict=True):
        axis.set(xlabel=next(iter(rows.values()))['unit'], ylabel=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        for index, (label, row) in enumerate(rows.items()):
            x, mean, std, tint = row['steps'], row['mean'], row['std'], f'C{index}'
            axis.plot(x, mean, '.-', label=label, color=tint)
            if std is not None:
                axis.fill_between(x, mean - std, mean + std, alpha=0.2, color=tint)
        axis.legend(fontsize='small')
    return fig


def values_of(
    curves: Curves, baseline: str, labels: dict[str, str], metric: str, unit: str
) -> dict[str, dict]:
    """Values for tables: mean heights, and when the end of the baseline is reached.

    The baseline is that of the same seed. ``labels`` name the encoders in tables,
    ``metric`` and ``unit`` what the curves show and their steps.
    """
    heights: dict[str, dict] = {name: {} for name in curves}
    matching: dict[str, dict] = {name: {} for name in curves}
    ends = {seed: points[-1][1] for seed, points in curves.get(baseline, {}).items()}
    for name, seeds in curves.items():
        for seed, points in seeds.items():
            steps, values = zip(*points, strict=True)
            heights[name][seed] = area_under(steps, values)
            if seed in ends:
                matching[name][seed] = matching_step(steps, values, ends[seed])
    label = f'mean height of the validation curve, {metric}'
    tables = {CONVERGENCE: {'label': label, 'encoders': heights}}
    if ends:
        label = f'first {unit} that reaches the end of the curve of {labels[baseline]}'
        tables[MATCHING] = {'label': label, 'encoders': matching}
    return tables


def draw_seeds(panels: dict[str, Curves], labels: dict[str, str]) -> Figure:
    """One panel per title: each seed thin, and the mean over the steps of all seeds."""
    fig, axes = figure(len(panels))
    for axis, (title, encoders) in zip(axes[0], panels.items(), strict=True):
        for name, seeds in encoders.items():
            color = color_of(name, labels)
            by_seed = [dict(points) for points in seeds.values()]
            for points in by_seed:
                axis.plot(list(points), list(points.values()), color=color, alpha=0.25)
            steps = sorted(set.intersection(*map(set, by_seed)))
            means = [fmean(points[step] for points in by_seed) for step in steps]
            axis.plot(steps, means, color=color, label=labels[name], marker='.')
        axis.set_title(title, fontsize=10)
        iterations = title == TRAINING_LOSS
        axis.set_xlabel('iteration' if iterations else 'epoch or iteration')
    axes[0][0].legend(fontsize=8)
    return fig

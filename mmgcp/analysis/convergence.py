"""How fast runs come to their result.

From the logs that mmengine writes while training: the curve of the validation
metric, the area under it, and the matching epoch, the first at which one run
reaches what another one ends with. Runs of one label are seeds of one curve.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .metrics import main_metric
from mmgcp.utils.files import write_json
from .output import colour, figure, save_figure
from mmgcp.engine.distributed import is_main
from mmgcp.utils.progress import track
from .runs import RunSpec

# What every validation record holds beside metrics.
NOT_METRICS = {'step', 'time', 'data_time', 'epoch', 'iter', 'memory', 'lr'}


def log_files(path: str | Path) -> list[Path]:
    """Scalar logs of a run, oldest first.

    Args:
        path (str | Path): A ``scalars.json``, the work folder, or a checkpoint in it.

    Raises:
        FileNotFoundError: There is no log.
    """
    path = Path(path)
    if path.suffix == '.json' and path.is_file():
        return [path]
    folder = path if path.is_dir() else path.parent
    found = sorted(folder.glob('*/vis_data/scalars.json'))
    if not found:
        raise FileNotFoundError(
            f'no */vis_data/scalars.json in {folder}: give the work folder of a '
            'training run, or a checkpoint in it'
        )
    return found


def read_curves(files: Sequence[Path]) -> dict[str, dict[int, float]]:
    """Validation metrics by step; a resumed run's later logs win.

    Raises:
        ValueError: A line other than the last is not JSON.
    """
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for file in files:
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                # A killed run may leave half of its last line.
                if number == len(lines) - 1:
                    continue
                raise ValueError(f'{file}, line {number + 1}: {error}') from error
            if 'loss' in record or 'step' not in record:
                continue
            for name, value in record.items():
                if name not in NOT_METRICS and isinstance(value, (int, float)):
                    curves[name][int(record['step'])] = float(value)
    return dict(curves)


def area_under(steps: Sequence[float], values: Sequence[float]) -> float:
    """Mean height of a curve: trapezoids over the span of its steps."""
    if len(steps) < 2:
        return float(values[0])
    x, y = np.asarray(steps, float), np.asarray(values, float)
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum() / (x[-1] - x[0]))


def matching_step(
    steps: Sequence[float], values: Sequence[float], target: float
) -> float | None:
    """First step at which a curve reaches ``target``; ``None`` if it never does."""
    reached = [s for s, value in zip(steps, values, strict=True) if value >= target]
    return reached[0] if reached else None


def convergence(
    specs: Sequence[RunSpec],
    out: str | Path,
    metric: str | None = None,
    groups: Sequence[str] | None = None,
    options: dict | None = None,
) -> dict:
    """Compare the curves of training runs in one picture.

    It reads logs only; with several processes the first one does it all.

    Args:
        specs (Sequence[RunSpec]): The runs; one label several times is several
            seeds. The checkpoint tells where the log is, see :func:`log_files`.
        out (str | Path): Folder of ``convergence.json`` and ``convergence.png``.
        metric (str, optional): Defaults to the framework's main one.
        groups (Sequence[str], optional): Task of each run; only runs of one
            group are compared. Defaults to the metric.
        options (dict, optional): Config overrides.

    Returns:
        dict: What ``convergence.json`` holds.

    Raises:
        ValueError: Another number of groups than of runs.
    """
    if groups is not None and len(groups) != len(specs):
        raise ValueError(f'{len(groups)} groups for {len(specs)} runs')
    seeds: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for index, spec in enumerate(track(specs, 'convergence', len(specs))):
        curves = read_curves(log_files(spec.checkpoint))
        name = main_metric(curves, metric)
        steps, values = zip(*sorted(curves[name].items()), strict=True)
        train_cfg = spec.load_config(options).get('train_cfg') or {}
        by_epoch = train_cfg.get('by_epoch', 'Iter' not in str(train_cfg.get('type')))
        group = groups[index] if groups is not None else name
        seeds[group, spec.label].append(
            {
                'config': spec.config,
                'log': spec.checkpoint,
                'metric': name,
                'unit': 'epoch' if by_epoch else 'iteration',
                'steps': list(steps),
                'values': list(values),
                'area_under_curve': area_under(steps, values),
                'final': values[-1],
                'best': max(values),
            }
        )
    result: dict = {'analysis': 'convergence', 'groups': {}}
    for group in dict.fromkeys(group for group, _ in seeds):
        rows = {
            label: summarise_seeds(s) for (g, label), s in seeds.items() if g == group
        }
        for label, row in rows.items():
            row['matching'] = {
                other: match(row, rows[other]) for other in rows if other != label
            }
        result['groups'][group] = rows
    if is_main():
        write_json(Path(out) / 'convergence.json', result)
        save_figure(draw(result['groups']), Path(out) / 'convergence.png')
    return result


def summarise_seeds(seeds: Sequence[dict]) -> dict:
    """Mean curve with its spread, over the steps that all seeds have."""
    shared = sorted(set.intersection(*(set(s['steps']) for s in seeds)))
    table = np.array(
        [[s['values'][s['steps'].index(step)] for step in shared] for s in seeds]
    ).reshape(len(seeds), len(shared))
    areas = [s['area_under_curve'] for s in seeds]
    finals = [s['final'] for s in seeds]
    many = len(seeds) > 1
    return {
        'metric': seeds[0]['metric'],
        'unit': seeds[0]['unit'],
        'number_of_seeds': len(seeds),
        'steps': shared,
        'mean': table.mean(0),
        'std': table.std(0, ddof=1) if many else None,
        'area_under_curve': float(np.mean(areas)),
        'area_under_curve_std': float(np.std(areas, ddof=1)) if many else None,
        'final': float(np.mean(finals)),
        'final_std': float(np.std(finals, ddof=1)) if many else None,
        'seeds': list(seeds),
    }


def match(row: dict, other: dict) -> dict:
    """When the mean curve of ``row`` reaches the final mean value of ``other``.

    Runs with as many seeds are matched pair by pair as well.
    """
    step = matching_step(row['steps'], row['mean'], other['final'])
    last = other['steps'][-1] if other['steps'] else None
    result = {
        'target': other['final'],
        'step': step,
        'share_of_its_length': step / last if step is not None and last else None,
    }
    if row['number_of_seeds'] == other['number_of_seeds'] > 1:
        pairs = zip(row['seeds'], other['seeds'], strict=True)
        result['per_seed'] = [
            matching_step(a['steps'], a['values'], b['final']) for a, b in pairs
        ]
    return result


def draw(groups: dict):
    """One panel per group: mean curves with one standard deviation."""
    fig, axes = figure(len(groups))
    for axis, (group, rows) in zip(axes[0], groups.items(), strict=True):
        first = next(iter(rows.values()))
        title = group if group != first['metric'] else None
        axis.set(title=title, xlabel=first['unit'], ylabel=first['metric'])
        axis.xaxis.get_major_locator().set_params(integer=True)
        for index, (label, row) in enumerate(rows.items()):
            style = {'color': colour(index)}
            mean = np.asarray(row['mean'])
            axis.plot(row['steps'], mean, '.-', label=label, **style)
            if row['std'] is not None:
                spread = np.asarray(row['std'])
                axis.fill_between(
                    row['steps'], mean - spread, mean + spread, alpha=0.2, **style
                )
        axis.legend(fontsize='small')
    return fig

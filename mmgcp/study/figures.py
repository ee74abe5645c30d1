"""PNG figures of the report: bars of the tables, curves of the trainings."""

from pathlib import Path
from statistics import fmean
from typing import Any

from mmgcp.analysis.output import color, figure, save_figure


def draw_figures(report: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draw what the report has numbers for.

    Args:
        report: What :func:`mmgcp.study.collect.collect` returned.
        folder: Folder of the report; figures go into ``figures`` below it.

    Returns:
        Title by path relative to ``folder``.
    """
    drawn = {}
    for task in report['study']['tasks']:
        label = report['study']['tasks'][task]['label']
        tables = {
            metric: table
            for metric, table in report['results'][task].items()
            if table['encoders']
        }
        if tables:
            name = f'figures/{task}-results.png'
            _bars(tables, report['study'], folder / name)
            drawn[name] = f'{label}: test data'
        curves = shown_curves(report, task)
        if curves:
            name = f'figures/{task}-curves.png'
            _curves(curves, report['study'], folder / name)
            drawn[name] = f'{label}: while training, on the validation data'
    return drawn


def shown_curves(report: dict[str, Any], task: str) -> dict[str, dict]:
    """Curves worth a picture, by title: the loss and the metrics of the tables."""
    curves = report['curves'].get(task, {})
    titles = {
        metric: table['label'] for metric, table in report['results'][task].items()
    }
    chosen = {title: curves[key] for key, title in titles.items() if key in curves}
    if 'training loss' in curves:
        chosen['training loss'] = curves['training loss']
    return chosen


def mean_curve(seeds: dict[Any, list]) -> tuple[list, list]:
    """Mean over the seeds of a curve, at the steps that all of them have."""
    by_seed = [dict(map(tuple, points)) for points in seeds.values()]
    common = sorted(set.intersection(*(set(points) for points in by_seed)))
    return common, [fmean(points[x] for points in by_seed) for x in common]


def _bars(tables: dict[str, dict], study: dict, path: Path) -> None:
    canvas, axes = figure(columns=len(tables))
    for axis, table in zip(axes[0], tables.values(), strict=True):
        for index, (name, row) in enumerate(table['encoders'].items()):
            order = list(study['encoders']).index(name)
            axis.bar(index, row['mean'], color=color(order), alpha=0.75)
            values = list(row['values'].values())
            axis.plot([index] * len(values), values, 'k.', markersize=5)
        names = [study['encoders'][name] for name in table['encoders']]
        axis.set_xticks(range(len(names)), names, rotation=20, ha='right')
        axis.set_title(table['label'], fontsize=10)
    axes[0][0].set_ylabel('mean (bar) and each seed (dot)')
    save_figure(canvas, path)


def _curves(curves: dict[str, dict], study: dict, path: Path) -> None:
    canvas, axes = figure(columns=len(curves))
    for axis, (title, encoders) in zip(axes[0], curves.items(), strict=True):
        for name, seeds in encoders.items():
            order = list(study['encoders']).index(name)
            if len(seeds) > 1:
                for points in seeds.values():
                    x, y = zip(*points, strict=True)
                    axis.plot(x, y, color=color(order), alpha=0.25, lw=0.8)
            steps, means = mean_curve(seeds)
            label = study['encoders'][name]
            axis.plot(steps, means, color=color(order), label=label, marker='.')
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(
            'iteration' if title == 'training loss' else 'epoch or iteration'
        )
    axes[0][0].legend(fontsize=8)
    save_figure(canvas, path)

"""Write a study's report: JSON, figures, and the same tables as Markdown and HTML."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from mmgcp.analysis.output import figure, save_figure
from mmgcp.analysis.statistics import ALPHA, MOST_SEEDS, summarize
from mmgcp.utils.files import replacing, write_json, write_text

from .progress import format_seconds
from .results import collect
from .step import Step

_TEMPLATES = Path(__file__).with_name('templates')
#: Column, key in ``costs.json``, unit and format.
_COSTS = [
    ('parameters (M)', 'parameters', 1e6, '.3f'),
    ('of the encoder (M)', 'encoder_parameters', 1e6, '.3f'),
    ('multiply-adds (G)', 'multiply_adds', 1e9, '.4f'),
    ('inference (images/s)', 'inference_images_per_second', 1, '.1f'),
    ('training step (images/s)', 'training_images_per_second', 1, '.1f'),
]
COST_HEAD = [
    'encoder',
    *(column for column, *_ in _COSTS),
    'training as run (images/s)',
    'wall time of training',
]
RESULT_HEAD = ['encoder', 'mean', '95 % interval', 'spread over seeds', 'seeds']
COMPARISON_HEAD = [
    'comparison',
    'difference',
    '95 % interval',
    'p',
    'p (Holm)',
    'what can be said',
    'effect size',
    'p (TOST)',
    'found with 80 % power',
    'seeds needed',
]
AGREEMENT_HEAD = [
    'measured frozen',
    'fine-tuned',
    *('encoders', 'Kendall tau_b', 'p', 'Spearman rho', 'weighted tau'),
    *('encoders x seeds', 'Kendall tau_b', 'Spearman rho'),
]
_ONE_SEED = 'unknown: one seed'
_SAYS = {
    'higher': 'higher',
    'lower': 'lower',
    'equivalent': 'equivalent within ±{margin:g}',
    'not shown': 'no difference shown',
    'unknown': 'unknown',
}


def write_report(
    study: dict[str, Any],
    steps: list[Step],
    folder: Path,
    missing: list[str] | None = None,
) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/``.

    Steps that are not done, and what is ``missing`` on this machine, are named in it.

    Returns:
        The content of ``report.json``.
    """
    report = collect(study, steps)
    report['missing'] = missing or []
    report['figures'] = _draw_figures(report, folder)
    for task, pictures in report['pictures'].items():
        source = folder / 'steps' / 'pictures' / task
        for sample in pictures['samples']:
            sample['truth'] = _copy(source / sample['truth'], folder, task)
            sample['predictions'] = {
                name: _copy(source / file, folder, task)
                for name, file in sample['predictions'].items()
            }
    for analysis in report['analyses']:
        if analysis['picture']:
            name = f'analysis-{analysis["name"]}-{analysis["task"]}.png'
            analysis['picture'] = _copy(Path(analysis['picture']), folder, '', name)
    write_json(folder / 'report.json', report)
    for name in ('report.md', 'report.html'):
        write_text(folder / name, render(report, folder, name))
    return report


def _copy(source: Path, folder: Path, task: str, name: str | None = None) -> str:
    """Put a picture beside the report, so that the folder can be handed on."""
    target = Path('figures') / task / (name or source.name)
    with replacing(folder / target) as part:
        shutil.copyfile(source, part)
    return str(target)


def render(report: dict[str, Any], folder: Path, name: str) -> str:
    """Fill the template ``report.md`` or ``report.html``; the page holds its pictures."""
    study = report['study']
    return fill(
        name,
        report=report,
        study=study,
        sentences=sentences(report['results']),
        agreement_head=AGREEMENT_HEAD,
        agreement_rows=agreement_rows,
        agreement_note=agreement_note,
        cost_head=COST_HEAD,
        cost_rows=lambda task: _cost_rows(report, task),
        seconds=format_seconds,
        image=lambda file: _data_uri('image/png', (folder / file).read_bytes()),
        json_uri=lambda content: _data_uri(
            'application/json', json.dumps(content).encode()
        ),
    )


def fill(name: str, **content: Any) -> str:
    """Fill one of the templates, all of which know the tables of results."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=name.endswith('.html'),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(
        result_head=RESULT_HEAD,
        result_rows=result_rows,
        comparison_head=COMPARISON_HEAD,
        comparison_rows=comparison_rows,
        **content,
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def result_rows(table: dict, study: dict) -> list[list[str]]:
    """Rows of a result table, one for each encoder."""
    rows = []
    for name, row in table['encoders'].items():
        values = list(row['values'].values())
        never = values.count(None)
        mean, interval, spread = f'never with {never} seeds', '', ''
        if not never:
            mean, interval, spread = f'{row["mean"]:.2f}', _ONE_SEED, _ONE_SEED
        if row['interval'] is not None:
            low, high = row['interval']
            interval, spread = f'[{low:.2f}, {high:.2f}]', f'{row["spread"]:.2f}'
        label = study['encoders'][name]
        rows.append([label, mean, interval, spread, str(len(values))])
    return rows


def comparison_rows(table: dict, study: dict) -> list[list[str]]:
    """Rows of a table of comparisons; what there is not is a dash."""
    rows = []
    for found in table['comparisons']:
        names = [study['encoders'][found[key]] for key in ('encoder', 'reference')]
        cells = [' − '.join(names), f'{found["mean"]:+.2f}']
        if found['interval'] is None:
            cells.append(_ONE_SEED if found['seeds'] < 2 else 'unknown: no spread')
            rows.append(cells + ['-'] * (len(COMPARISON_HEAD) - len(cells)))
            continue
        low, high = found['interval']
        cells += [f'[{low:+.2f}, {high:+.2f}]', _p_value(found['p'])]
        cells += [_p_value(found['p_adjusted'])]
        cells += [_SAYS[found['verdict']].format(**found), f'{found["effect"]:+.2f}']
        cells += [_p_value(found['p_equivalence']), f'{found["detectable"]:.2f}']
        rows.append([*cells, str(found['seeds_needed'] or f'> {MOST_SEEDS}')])
    return rows


def _p_value(p: float | None) -> str:
    if p is None:
        return '-'
    return '< 0.001' if p < 0.001 else f'{p:.3f}'


def agreement_rows(agreement: list[dict]) -> list[list[str]]:
    """Rows of rank correlations; a dash where nothing can be ordered."""

    def cells(found: dict, *keys: str) -> list[str]:
        values = ('-' if found[k] is None else f'{found[k]:+.2f}' for k in keys)
        return [str(found['n']), *values]

    rows = []
    for row in agreement:
        means = cells(row['encoders'], 'kendall', 'spearman', 'weighted')
        means.insert(2, _p_value(row['encoders']['p']))
        rows.append(
            [*row['labels'], *means, *cells(row['runs'], 'kendall', 'spearman')]
        )
    return rows


def agreement_note(agreement: list[dict]) -> str:
    """How to read the rank correlations, and whether there are enough encoders."""
    note = (
        "1 is the same order, -1 the reverse. p is that of Kendall's tau over the means "
        'of the encoders, not adjusted for the number of rows. Seeds of one encoder are '
        'not independent, so their correlations have no p.'
    )
    most = max((row['encoders'] for row in agreement), key=lambda found: found['n'])
    if most['smallest_p'] < ALPHA:
        return note
    return (
        f'{note} {most["n"]} encoders are too few to conclude anything: the same order '
        f'or its reverse comes by chance with p = {most["smallest_p"]:.2f}.'
    )


def sentences(results: dict[str, dict]) -> list[str]:
    """One for each comparison of each primary end-point."""
    return [
        found['sentence']
        for tables in results.values()
        for table in tables.values()
        if table['primary']
        for found in table['comparisons']
    ]


def _cost_rows(report: dict, task: str) -> list[list[str]]:
    """Rows of the cost table; what was not measured is a dash."""
    measured = (report['costs'].get(task) or {}).get('models', {})
    trained = report['training'][task]
    rows = []
    for name, label in report['study']['encoders'].items():
        if name not in measured and name not in trained:
            continue
        row, runs = measured.get(name, {}), list(trained.get(name, {}).values())
        cells = [label]
        for _, key, unit, form in _COSTS:
            value = row.get(key)
            cells.append('-' if value is None else format(value / unit, form))
        speeds = [r['images_per_second'] for r in runs if r['images_per_second']]
        walls = [run['wall_seconds'] for run in runs]
        cells.append(_mean_of(speeds, '{:.1f}'.format))
        cells.append(_mean_of(walls, format_seconds))
        rows.append(cells)
    return rows


def _mean_of(numbers: list[float], form: Callable[[float], str]) -> str:
    """Mean over seeds and its interval."""
    if not numbers:
        return '-'
    found = summarize(dict(enumerate(numbers)))
    if found.interval is None:
        return form(found.mean)
    return f'{form(found.mean)} [{", ".join(map(form, found.interval))}]'


def _draw_figures(report: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draw the tables and the curves; returns titles by path below ``folder``."""
    drawn = {}
    for task, info in report['study']['tasks'].items():
        results, curves = report['results'][task], report['curves'][task]
        tables = [table for table in results.values() if table['encoders']]
        if tables:
            name = f'figures/{task}-results.png'
            _draw_bars(tables, report['study'], folder / name)
            drawn[name] = f'{info["label"]}: test data'
        # The metrics of the tables, on the validation data, and the loss.
        shown = {t['label']: curves[key] for key, t in results.items() if key in curves}
        if 'training loss' in curves:
            shown['training loss'] = curves['training loss']
        if shown:
            name = f'figures/{task}-curves.png'
            _draw_curves(shown, report['study'], folder / name)
            drawn[name] = f'{info["label"]}: while training, on the validation data'
    return drawn


def _draw_bars(tables: list[dict], study: dict, path: Path) -> None:
    canvas, axes = figure(columns=len(tables))
    for axis, table in zip(axes[0], tables, strict=True):
        for index, (name, row) in enumerate(table['encoders'].items()):
            color, mean = _color(study, name), row['mean']
            values = [value for value in row['values'].values() if value is not None]
            axis.plot([index] * len(values), values, 'k.', markersize=5)
            if mean is not None:
                axis.bar(index, mean, color=color, alpha=0.75)
            if row['interval'] is not None:
                half = row['interval'][1] - mean
                axis.errorbar(index, mean, half, color='k', capsize=4)
        names = [study['encoders'][name] for name in table['encoders']]
        axis.set_xticks(range(len(names)), names, rotation=20, ha='right')
        axis.set_title(table['label'], fontsize=10)
    axes[0][0].set_ylabel('mean, 95 % interval, each seed (dot)')
    save_figure(canvas, path)


def _draw_curves(curves: dict[str, dict], study: dict, path: Path) -> None:
    """Draw each seed thin, and the mean over the steps that all seeds have."""
    canvas, axes = figure(columns=len(curves))
    for axis, (title, encoders) in zip(axes[0], curves.items(), strict=True):
        for name, seeds in encoders.items():
            color = _color(study, name)
            by_seed = [dict(map(tuple, points)) for points in seeds.values()]
            for points in by_seed:
                axis.plot(list(points), list(points.values()), color=color, alpha=0.25)
            steps = sorted(set.intersection(*map(set, by_seed)))
            means = [fmean(points[step] for points in by_seed) for step in steps]
            label = study['encoders'][name]
            axis.plot(steps, means, color=color, label=label, marker='.')
        axis.set_title(title, fontsize=10)
        iterations = title == 'training loss'
        axis.set_xlabel('iteration' if iterations else 'epoch or iteration')
    axes[0][0].legend(fontsize=8)
    save_figure(canvas, path)


def _color(study: dict, encoder: str) -> str:
    return f'C{list(study["encoders"]).index(encoder) % 10}'

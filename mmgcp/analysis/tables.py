"""Tables over seeds: what each encoder reached, and what can be said about two.

A table is a dictionary with a ``label``, whether it is ``primary``, a
:class:`~mmgcp.analysis.statistics.Summary` for each of its ``encoders``, and the
``comparisons`` of encoders.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure

from mmgcp.utils.errors import UserError

from .convergence import MATCHING
from .output import color_of, figure, name_ticks
from .statistics import (
    MOST_SEEDS,
    Comparison,
    adjusted,
    compare,
    p_text,
    seeds_needed,
    summarize,
)

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
POWER_HEAD = [
    'end-point',
    'comparison',
    'seeds so far',
    'difference',
    'found so far',
    'seeds for the difference',
    'hours',
    'seeds for the margin',
    'hours',
]
_ONE_SEED = 'unknown: one seed'
_SAYS = {
    'higher': 'higher',
    'lower': 'lower',
    'equivalent': 'equivalent within ±{margin:g}',
    'not shown': 'no difference shown',
    'unknown': 'unknown',
}


def scale_of(metric: str) -> float:
    """CocoMetric gives fractions; like the papers, tables are in percent."""
    return 100.0 if metric.startswith('coco/') else 1.0


def margin_of(design: dict[str, Any], end_point: str) -> float | None:
    """The equivalence margin of an end-point, if the study has one."""
    margin = design['margin']
    return margin.get(end_point) if isinstance(margin, dict) else margin


def tables_of(
    values: dict[str, dict],
    design: dict[str, Any],
    test_images: dict[str, dict] | None = None,
) -> dict[str, dict]:
    """Tables of what was measured, by task and metric.

    Args:
        values: By task and metric: ``label``, and by encoder and seed the ``encoders``.
            None is a curve that never gets where it should; it has no mean.
        design: The part ``study`` of a report or record.
        test_images: What the analysis ``bootstrap`` found, by task.
    """
    tables: dict[str, dict] = {}
    compared: list[tuple[dict, dict[str, str], Comparison, str]] = []
    for task, metrics in values.items():
        found_images = (test_images or {}).get(task)
        for metric, entry in metrics.items():
            point, rows = f'{task}/{metric}', entry['encoders']
            table = {
                'label': entry['label'],
                'primary': point in design['primary'],
                'encoders': {n: _summary(row) for n, row in rows.items() if row},
                'comparisons': [],
            }
            tables.setdefault(task, {})[metric] = table
            paired, margin = design['comparison'] == 'paired', margin_of(design, point)
            for one, two in design['contrasts'] if metric != MATCHING else []:
                found = compare(rows.get(one, {}), rows.get(two, {}), paired, margin)
                if found:
                    pair = {'encoder': one, 'reference': two}
                    errors = _two_errors(found_images, metric, pair, found)
                    compared.append((table, pair, found, errors))
    primary = [found for table, _, found, _ in compared if table['primary']]
    corrected = iter(adjusted(primary))
    for table, pair, found, errors in compared:
        if table['primary']:
            found = next(corrected)
        one, two = (design['encoders'][name] for name in pair.values())
        table['comparisons'].append(
            {
                **pair,
                **asdict(found),
                'verdict': found.verdict,
                'sentence': found.sentence(one, two, table['label']) + errors,
            }
        )
    return tables


def _summary(row: dict[int, float | None]) -> dict[str, Any]:
    known = {seed: value for seed, value in row.items() if value is not None}
    if len(known) == len(row):
        return asdict(summarize(known))
    return {'values': row, 'mean': None, 'spread': None, 'interval': None}


def _two_errors(
    measured: dict | None, metric: str, pair: dict[str, str], found: Comparison
) -> str:
    """The standard errors of a difference, if the one from the images is known."""
    if measured is None:
        return ''
    row = measured['metrics'].get(metric, {}).get(pair['encoder'], {})
    error = row.get('differences', {}).get(pair['reference'])
    if error is None:
        return ''
    seeds = found.standard_error
    return (
        f' The standard error of the difference is {error * scale_of(metric):.2f} from '
        f'the {measured["images"]} test images ({measured["resamples"]} resamples), '
        f'and {"unknown" if seeds is None else format(seeds, ".2f")} from the seeds.'
    )


def sentences(tables: dict[str, dict]) -> list[str]:
    """One for each comparison of each primary end-point."""
    return [
        found['sentence']
        for metrics in tables.values()
        for table in metrics.values()
        if table['primary']
        for found in table['comparisons']
    ]


def result_rows(table: dict, design: dict) -> list[list[str]]:
    """Rows of a result table, one for each encoder."""
    rows = []
    for name, row in table['encoders'].items():
        values = list(row['values'].values())
        never = values.count(None)
        mean, interval, spread = f'never in {never} of {len(values)} seeds', '', ''
        if not never:
            mean, interval, spread = f'{row["mean"]:.2f}', _ONE_SEED, _ONE_SEED
        if row['interval'] is not None:
            low, high = row['interval']
            interval, spread = f'[{low:.2f}, {high:.2f}]', f'{row["spread"]:.2f}'
        label = design['encoders'][name]
        rows.append([label, mean, interval, spread, str(len(values))])
    return rows


def comparison_rows(table: dict, design: dict) -> list[list[str]]:
    """Rows of a table of comparisons; what there is not is a dash."""
    rows = []
    for found in table['comparisons']:
        names = [design['encoders'][found[key]] for key in ('encoder', 'reference')]
        cells = [' − '.join(names), f'{found["mean"]:+.2f}']
        if found['interval'] is None:
            cells.append(_ONE_SEED if found['seeds'] < 2 else 'unknown: no spread')
            rows.append(cells + ['-'] * (len(COMPARISON_HEAD) - len(cells)))
            continue
        low, high = found['interval']
        cells += [f'[{low:+.2f}, {high:+.2f}]', p_text(found['p'])]
        cells += [p_text(found['p_adjusted'])]
        cells += [_SAYS[found['verdict']].format(**found), f'{found["effect"]:+.2f}']
        cells += [p_text(found['p_equivalence']), f'{found["detectable"]:.2f}']
        rows.append([*cells, str(found['seeds_needed'] or f'> {MOST_SEEDS}')])
    return rows


def power_rows(
    tables: dict[str, dict], design: dict, seconds: Callable[[str, str], float]
) -> list[list[str]]:
    """Rows under :data:`POWER_HEAD`: seeds for 80 % power at the observed spread.

    Without primary end-points, all that was measured. The hours are those of all
    seeds of both encoders.

    Args:
        tables: What :func:`tables_of` returned.
        design: As there.
        seconds: What one seed takes of a task and an encoder.

    Raises:
        UserError: A comparison has fewer than two seeds, or there is none.
    """
    asked = [
        (task, metric, table)
        for task, metrics in tables.items()
        for metric, table in metrics.items()
        if table['primary'] or not design['primary']
    ]
    rows = []
    for task, metric, table in asked:
        margin = margin_of(design, f'{task}/{metric}')
        for found in table['comparisons']:
            names = [found['encoder'], found['reference']]
            if found['seeds'] < 2:
                raise UserError(
                    f'--power: {design["config"]} has one seed of {" and ".join(names)} '
                    f'in {task}: the spread takes two. Run it with --seeds 2 or more'
                )
            cost = sum(seconds(task, name) for name in names)
            row = [f'{task}/{metric}', ' − '.join(design['encoders'][n] for n in names)]
            row += [str(found['seeds']), f'{found["mean"]:+.2f}']
            if found['spread'] is None:
                rows.append([*row, *['no spread'] * 5])
                continue
            row += [f'{found["detectable"]:.2f}', *_cost(found['seeds_needed'], cost)]
            if margin is None:
                row += ['-', '-']
            else:
                paired = design['comparison'] == 'paired'
                row += _cost(seeds_needed(margin / found['spread'], paired), cost)
            rows.append(row)
    if not rows:
        raise UserError(
            f'--power: {design["config"]} has no two encoders with results to compare; '
            'run it with --seeds 2 or more'
        )
    return rows


def _cost(seeds: int | None, seconds: float) -> list[str]:
    if seeds is None:
        return [f'> {MOST_SEEDS}', '-']
    return [str(seeds), f'{seeds * seconds / 3600:.1f}']


def draw(tables: list[dict], design: dict) -> Figure:
    """One panel per table: means with their intervals, and each seed."""
    fig, axes = figure(len(tables))
    for axis, table in zip(axes[0], tables, strict=True):
        for index, (name, row) in enumerate(table['encoders'].items()):
            values = [value for value in row['values'].values() if value is not None]
            axis.plot([index] * len(values), values, 'k.', markersize=5)
            if row['mean'] is not None:
                tint = color_of(name, design['encoders'])
                axis.bar(index, row['mean'], color=tint, alpha=0.75)
            if row['interval'] is not None:
                half = row['interval'][1] - row['mean']
                axis.errorbar(index, row['mean'], half, color='k', capsize=4)
        name_ticks(axis, [design['encoders'][name] for name in table['encoders']])
        axis.set_title(table['label'], fontsize=10)
    axes[0][0].set_ylabel('mean, 95 % interval, each seed (dot)')
    return fig

"""How many seeds a study needs, from a pilot, and what they cost."""

from statistics import fmean
from typing import Any

from mmgcp.analysis.statistics import MOST_SEEDS, seeds_needed

from .config import margin_of
from .step import Step, StudyError

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


def power_rows(report: dict[str, Any], steps: list[Step]) -> list[list[str]]:
    """Rows under :data:`POWER_HEAD`: seeds for 80 % power at the observed spread.

    Without primary end-points, all that was measured. The hours are those of all
    seeds of both encoders, from pre-training to evaluation, as the pilot took.

    Raises:
        StudyError: A comparison has fewer than two seeds, or there is none.
    """
    design = report['study']
    tables = {
        (task, metric): table
        for task, metrics in report['results'].items()
        for metric, table in metrics.items()
        if table['primary'] or not design['primary']
    }
    rows = []
    for (task, metric), table in tables.items():
        margin = margin_of(design, f'{task}/{metric}')
        for found in table['comparisons']:
            names = [found['encoder'], found['reference']]
            if found['seeds'] < 2:
                raise StudyError(
                    f'--power: {design["config"]} has one seed of {" and ".join(names)} '
                    f'in {task}: the spread takes two. Run it with --seeds 2 or more'
                )
            cost = sum(_seconds_of_a_seed(steps, task, name) for name in names)
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
        raise StudyError(
            f'--power: {design["config"]} has no two encoders with results to compare; '
            'run it with --seeds 2 or more'
        )
    return rows


def _seconds_of_a_seed(steps: list[Step], task: str, encoder: str) -> float:
    """Mean of what one seed of an encoder takes, from pre-training to evaluation."""
    seconds: dict[int, float] = {}
    for step in steps:
        meta = step.meta
        if meta.get('encoder') == encoder and meta['task'] in (task, 'pretrain'):
            took = step.record().get('seconds', 0.0)
            seconds[meta['seed']] = seconds.get(meta['seed'], 0.0) + took
    return fmean(seconds.values())


def _cost(seeds: int | None, seconds: float) -> list[str]:
    if seeds is None:
        return [f'> {MOST_SEEDS}', '-']
    return [str(seeds), f'{seeds * seconds / 3600:.1f}']

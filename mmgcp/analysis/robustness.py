"""Performance on corrupted images, for any framework's test set.

The fifteen corruptions of ImageNet-C at five severities are applied while the
images are read, and the config's own evaluator judges each. Reported: mPC and
rPC (C. Michaelis et al., 2019) of every metric the evaluator gives; mCE against
AlexNet where it is defined; and, for any data set, the same ratio against the
first run.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .bench import POSITIONS, Bench
from mmgcp.datasets.corruption import CORRUPTIONS, SEVERITIES, Corrupt
from .metrics import main_metric
from mmgcp.utils.files import write_json
from .output import colour, figure, save_figure
from mmgcp.engine.distributed import is_main
from mmgcp.utils.progress import progress
from .robustness_scores import (
    mean_corruption_error,
    performance_under_corruption,
    relative_error,
)
from .runs import RunSpec


def robustness(
    specs: Sequence[RunSpec],
    out: str | Path,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    images: int | None = None,
    position: str | None = None,
    metric: str | None = None,
    seed: int = 0,
    options: dict | None = None,
    launcher: str = 'none',
) -> dict:
    """Evaluate every run under every corruption.

    What is finished is kept in ``out/robustness/LABEL/``, one file per
    corruption, and is not done again as long as config, checkpoint, sample and
    seed are the same. With several processes the images of each evaluation are
    split, as in any distributed test.

    Args:
        specs (Sequence[RunSpec]): The runs; the first is the reference.
        out (str | Path): Folder of ``robustness.json`` and ``robustness.png``.
        corruptions (Sequence[str]): Subset of the fifteen.
        severities (Sequence[int]): Subset of 1 to 5.
        images (int, optional): Size of a fixed sample of the test set; 0 for
            all of it, as the benchmark wants it. Defaults to 100 for a
            classifier and 40 otherwise.
        position (str, optional): Corrupt behind ``'load'``, the image as it is on
            disk (COCO-C), or in front of ``'pack'``, resized and cropped
            (ImageNet-C). Defaults to ``'pack'`` for a classifier, else ``'load'``.
        metric (str, optional): Metric of the picture and of the errors.
        seed (int): Seed of the corruptions and of the sample.
        options (dict, optional): Config overrides.
        launcher (str): As for a test.

    Returns:
        dict: What ``robustness.json`` holds.

    Raises:
        ValueError: An unknown corruption, severity or position.
    """
    for corruption in corruptions:
        for severity in severities:
            Corrupt(corruption, severity)
    if position not in (None, *POSITIONS):
        raise ValueError(f'position={position!r}: one of {", ".join(POSITIONS)}')
    out = Path(out)
    rows = []
    with progress() as bar:
        total = len(specs) * (1 + len(corruptions))
        task = bar.add_task('robustness', total=total)
        for spec in specs:
            start = time.perf_counter()
            bench = Bench(spec, out, images, position, seed, options, launcher)
            clean = bench.clean()
            bar.advance(task)
            table = {}
            for corruption in corruptions:
                bar.update(task, description=f'{spec.label}: {corruption}')
                table[corruption] = bench.corrupted(corruption, severities, clean)
                bar.advance(task)
            main = main_metric(clean, metric)
            rows.append(
                {
                    'label': spec.label,
                    'config': spec.config,
                    'checkpoint': spec.checkpoint,
                    'framework': bench.cfg.default_scope,
                    'sample': bench.sample,
                    'seed': seed,
                    'corrupted': bench.position,
                    'metric': main,
                    'scores': performance_under_corruption(clean, table),
                    'alexnet': mean_corruption_error(table, main, bench.classes),
                    'table': table,
                    'evaluations_done_now': bench.done,
                    'seconds': time.perf_counter() - start,
                }
            )
            bench.close()
    for row in rows:
        first = rows[0]
        row['error_relative_to_first'] = (
            relative_error(row['table'], first['table'], row['metric'])
            if row['metric'] == first['metric']
            else None
        )
    result = {
        'analysis': 'robustness',
        'corruptions': list(corruptions),
        'severities': list(severities),
        'complete_benchmark': tuple(corruptions) == CORRUPTIONS
        and tuple(severities) == SEVERITIES
        and all(row['sample']['images'] == row['sample']['of'] for row in rows),
        'runs': rows,
    }
    if is_main():
        write_json(out / 'robustness.json', result)
        save_figure(draw(rows), out / 'robustness.png')
    return result


def draw(rows: Sequence[dict]):
    """Performance per corruption and per severity, with the clean one dashed."""
    fig, axes = figure(2)
    bars, lines = axes[0]
    names = list(rows[0]['table'])
    width = 0.8 / len(rows)
    for index, row in enumerate(rows):
        metric, table = row['metric'], row['table']
        score = row['scores'][metric]
        clean = score['clean'] or np.nan
        values = [
            np.mean([cell[metric] for cell in table[name].values()]) / clean
            for name in names
        ]
        place = np.arange(len(names)) + (index - (len(rows) - 1) / 2) * width
        bars.bar(place, values, width, color=colour(index))
        severities = list(table[names[0]])
        curve = [np.mean([table[n][s][metric] for n in names]) for s in severities]
        mean = 'undefined' if score['mPC'] is None else f'{score["mPC"]:.3g}'
        lines.plot(
            [0, *map(int, severities)],
            [score['clean'], *curve],
            'o-',
            color=colour(index),
            label=f'{row["label"]}: mPC {mean}',
        )
    bars.set_title('share of the clean performance')
    bars.set_xticks(range(len(names)), names, rotation=90, fontsize='small')
    lines.set(
        title=', '.join(dict.fromkeys(r['metric'] for r in rows)), xlabel='severity'
    )
    lines.set_xticks([0, *map(int, severities)])
    lines.legend(fontsize='small')
    return fig

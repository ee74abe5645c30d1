"""Parameters, FLOPs and speed of several models, measured side by side.

``python -m mmgcp.analysis.costs OUT.json --models CONFIG CHECKPOINT ...``
"""

import copy
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from mmengine.optim import OptimWrapper

from mmgcp.utils.cli import ArgumentParser, run_main
from mmgcp.utils.files import write_json
from mmgcp.utils.progress import format_seconds
from mmgcp.utils.run_specs import RunSpec, run_specs

from .complexity import count, image_size
from .sample import Run, load_run, sample_batches
from .statistics import summarize

#: Column of a table, key of what was measured, unit and format.
_COLUMNS = [
    ('parameters (M)', 'parameters', 1e6, '.3f'),
    ('of the encoder (M)', 'encoder_parameters', 1e6, '.3f'),
    ('multiply-adds (G)', 'multiply_adds', 1e9, '.4f'),
    ('inference (images/s)', 'inference_images_per_second', 1, '.1f'),
    ('training step (images/s)', 'training_images_per_second', 1, '.1f'),
]
COST_HEAD = [
    'encoder',
    *(column for column, *_ in _COLUMNS),
    'training as run (images/s)',
    'wall time of training',
]


def measure_costs(
    models: Sequence[RunSpec],
    rounds: int = 5,
    seconds: float = 0.25,
) -> dict[str, Any]:
    """Count models, and time them in turns: a busy machine then slows all alike.

    Args:
        models: Config, checkpoint and name of each. Trained weights, because the time
            of a detector depends on how many boxes it finds.
        rounds: Turns; the median is reported.
        seconds: How long each model is measured in one turn.
    """
    runs = {spec.label: load_run(spec) for spec in models}
    rows: dict[str, dict] = {}
    timers: dict[str, dict[str, Callable[[], None]]] = {}
    for name, run in runs.items():
        counts = count(run, image_size(run, 'val', 0))
        rows[name] = {
            'parameters': counts['parameters'],
            'encoder_parameters': counts['parts']['backbone']['parameters'],
            'multiply_adds': counts['multiply_adds'],
            'input_shape': counts['image'],
            'boxes_per_image': counts.get('boxes_per_image'),
        }
        size = run.cfg.train_dataloader.batch_size
        train = sample_batches(run, 'train', size, size, 0)
        size = run.cfg.test_dataloader.batch_size
        test = sample_batches(run, 'val', size, size, 0)
        rows[name]['training_batch_size'] = train.total
        rows[name]['inference_batch_size'] = test.total
        timers[name] = {
            'training': _training_step(run, train.batches[0]),
            'inference': _inference_step(run, test.batches[0]),
        }
    # Training moves the statistics of batch norms, and so what a detector finds.
    for mode in ('inference', 'training'):
        speeds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(rounds + 1):
            for name in runs:
                pace = _pace(timers[name][mode], seconds)
                if turn:  # the first turn warms up
                    speeds[name].append(pace)
        for name, row in rows.items():
            speed = median(speeds[name]) * row[f'{mode}_batch_size']
            row[f'{mode}_images_per_second'] = speed
    return {
        'models': rows,
        'threads': torch.get_num_threads(),
        'device': str(next(iter(runs.values())).device),
        'rounds': rounds,
    }


def _training_step(run: Run, batch: dict) -> Callable[[], None]:
    model: Any = run.model
    sgd = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    wrapper = OptimWrapper(sgd)

    def step() -> None:
        model.train()
        model.train_step(copy.deepcopy(batch), wrapper)

    return step


def _inference_step(run: Run, batch: dict) -> Callable[[], None]:
    model: Any = run.model

    def step() -> None:
        model.eval()
        with torch.no_grad():
            model.test_step(copy.deepcopy(batch))

    return step


def _pace(step: Callable[[], None], seconds: float) -> float:
    """Steps per second; at least one step."""
    _wait()
    started = time.perf_counter()
    steps = 0
    while not steps or time.perf_counter() - started < seconds:
        step()
        steps += 1
        _wait()
    return steps / (time.perf_counter() - started)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def cost_rows(
    costs: dict[str, Any], trained: dict[str, dict], labels: dict[str, str]
) -> list[list[str]]:
    """Rows under :data:`COST_HEAD`; what was not measured is a dash.

    Args:
        costs: What :func:`measure_costs` returned, or nothing.
        trained: ``images_per_second`` and ``wall_seconds`` of trainings, by encoder and
            seed.
        labels: Names of the encoders.
    """
    rows, measured = [], costs.get('models', {})
    for name, label in labels.items():
        if name not in measured and name not in trained:
            continue
        row, runs = measured.get(name, {}), list(trained.get(name, {}).values())
        cells = [label]
        for _, key, unit, form in _COLUMNS:
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


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('out', help='JSON file to write')
    parser.add_argument(
        '--models', nargs='+', required=True, metavar='CONFIG CHECKPOINT'
    )
    parser.add_argument('--labels', nargs='+', help='name of each model')
    args = parser.parse_args(argv)
    write_json(args.out, measure_costs(run_specs(args.models, args.labels)))


if __name__ == '__main__':
    run_main(main)

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
from mmgcp.utils.run_specs import RunSpec, run_specs

from .complexity import count, image_size
from .sample import Run, load_run, sample_batches


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


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('out', help='JSON file to write')
    parser.add_argument('--models', nargs='+', metavar='CONFIG CHECKPOINT')
    parser.add_argument('--labels', nargs='+', help='name of each model')
    args = parser.parse_args(argv)
    write_json(args.out, measure_costs(run_specs(args.models, args.labels)))


if __name__ == '__main__':
    run_main(main)

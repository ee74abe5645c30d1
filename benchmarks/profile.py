"""What a step spends its time in: operators of a model, transforms of images."""

import time
from collections.abc import Callable

from mmengine.dataset import BaseDataset
from torch.profiler import ProfilerActivity, profile


def costs(step: Callable, number: int) -> str:
    """The ``number`` operators with the most time of their own, with their share."""
    with profile(activities=[ProfilerActivity.CPU]) as run:
        step()
    events = run.key_averages()
    total = sum(e.self_cpu_time_total for e in events)
    events = sorted(events, key=lambda e: -e.self_cpu_time_total)[:number]
    return '\n'.join(
        _line(
            e.self_cpu_time_total / 1e6, e.self_cpu_time_total / total, e.count, e.key
        )
        for e in events
    )


def transform_costs(dataset: BaseDataset, number: int, images: int = 64) -> str:
    """The ``number`` slowest transforms of a data set, with their share.

    Args:
        dataset (BaseDataset): Anything with a ``pipeline``.
        number (int): Lines.
        images (int): How many of the first images go through the pipeline.
    """
    transforms = dataset.pipeline.transforms
    seconds = [0.0] * len(transforms)
    count = min(images, len(dataset))
    for index in range(count):
        data = dataset.get_data_info(index)
        for place, transform in enumerate(transforms):
            start = time.perf_counter()
            data = transform(data)
            seconds[place] += time.perf_counter() - start
            if data is None:  # a transform may refuse an image
                break
    total = sum(seconds)
    order = sorted(range(len(seconds)), key=lambda place: -seconds[place])[:number]
    return '\n'.join(
        _line(seconds[i], seconds[i] / total, count, type(transforms[i]).__name__)
        for i in order
    )


def _line(seconds: float, share: float, count: int, name: str) -> str:
    return f'{seconds * 1e3:9.1f} ms  {share:6.1%}  {count:5d} x  {name}'

"""Interleaved timing: every variant in every round, ratios within the round."""

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

# One line per memory event of the profiler.
_MEMORY = '[memory]'


@dataclass
class Variant:
    """Something to time.

    Attributes:
        name: Shown in the table.
        step: Does the work once.
        baseline: Name of the variant its ratio is taken against.
        items: Images per step, for images per second; None leaves the column empty.
        targets: What the ratios should not exceed, by column (``time``, ``peak``).
        dataset: What the step loads from, if it loads.
    """

    name: str
    step: Callable[[], object]
    baseline: str
    items: int | None = None
    targets: dict = field(default_factory=dict)
    dataset: Any = None


def clock(device: str) -> Callable[[Callable], float]:
    """A function that gives the seconds a step takes on a device."""
    if device != 'cuda':

        def seconds(step):
            start = time.perf_counter()
            step()
            return time.perf_counter() - start
    else:

        def seconds(step):
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            begin.record()
            step()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / 1e3

    return seconds


def peak_bytes(step: Callable, device: str = 'cpu') -> int:
    """Most bytes that torch held at once during the step, beyond those before it."""
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
            step()
    events = [
        e
        for e in run.profiler.kineto_results.events()
        if e.name() == _MEMORY and e.device_type() == torch.profiler.DeviceType.CPU
    ]
    events.sort(key=lambda e: e.start_ns() if hasattr(e, 'start_ns') else e.start_us())
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(
    variants: list[Variant],
    rounds: int,
    warmup: int = 2,
    device: str = 'cpu',
    memory: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict]:
    """Time the variants in turn, ``rounds`` times, after ``warmup`` rounds.

    Every second round runs backwards, so that none profits from its place.

    Returns:
        One row per variant: median milliseconds, the median over rounds of its time
        divided by that of its baseline in the same round, the quartiles of that
        ratio, peak memory and images per second.
    """
    seconds = clock(device)
    times: dict[str, list[float]] = {v.name: [] for v in variants}
    total = warmup + rounds
    for number in range(total):
        for variant in variants if number % 2 else reversed(variants):
            spent = seconds(variant.step)
            if number >= warmup:
                times[variant.name].append(spent)
        progress(number + 1, total)
    peaks = {v.name: peak_bytes(v.step, device) for v in variants} if memory else {}
    return [_row(v, times, peaks) for v in variants]


def _row(variant: Variant, times: dict, peaks: dict) -> dict:
    own, base = times[variant.name], times[variant.baseline]
    ratios = [a / b for a, b in zip(own, base, strict=True)]
    low, middle, high = quartiles(ratios)
    row = {
        'name': variant.name,
        'baseline': variant.baseline,
        'milliseconds': 1e3 * statistics.median(own),
        'best_milliseconds': 1e3 * min(own),
        'ratio': middle,
        'ratio_quartiles': [low, high],
        'rounds': len(own),
        'targets': variant.targets,
    }
    if peaks:
        row['peak_mib'] = peaks[variant.name] / 2**20
        reference = peaks[variant.baseline]
        row['peak_ratio'] = peaks[variant.name] / reference if reference else None
    if variant.items:
        row['images_per_second'] = variant.items / statistics.median(own)
    return row


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method='inclusive')
    return low, middle, high

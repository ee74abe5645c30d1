"""Interleaved timing: every variant in every round, ratios within the round."""

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.profiler import DeviceType, ProfilerActivity, profile

from mmgcp.utils.progress import track


@dataclass
class Variant:
    """Something to time.

    Attributes:
        name: Shown in the table.
        step: Does the work once.
        baseline: Name of the variant its ratio is taken against.
        images: Images per step, if images per second are to be shown.
    """

    name: str
    step: Callable[[], object]
    baseline: str
    images: int | None = None


def clock(device: str) -> Callable[[Callable], float]:
    """A function that gives the seconds a step takes on a device."""

    def on_cpu(step):
        start = time.perf_counter()
        step()
        return time.perf_counter() - start

    def on_gpu(step):
        cache.zero_()  # what the round before left in the L2 cache
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        begin.record()
        step()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    if device == 'cpu':
        return on_cpu
    about = torch.cuda.get_device_properties(device)
    size = 2 * getattr(about, 'L2_cache_size', 2**26)
    cache = torch.empty(size, dtype=torch.int8, device=device)
    return on_gpu


def peak_bytes(step: Callable, device: str = 'cpu') -> int:
    """Most bytes that torch held at once during the step, beyond those before it."""
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
            step()
    events = [
        e
        for e in run.profiler.kineto_results.events()
        if e.name() == '[memory]' and e.device_type() == DeviceType.CPU
    ]
    events.sort(key=lambda e: e.start_ns() if hasattr(e, 'start_ns') else e.start_us())
    held = peak = 0
    for event in events:
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def graphed(step: Callable) -> Callable:
    """The kernels of a step as one CUDA graph; the step itself is run three times."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def most_expensive(step: Callable, number: int) -> str:
    """torch's table of the ``number`` operators with the most time of their own."""
    with profile(activities=[ProfilerActivity.CPU]) as run:
        step()
    return run.key_averages().table(sort_by='self_cpu_time_total', row_limit=number)


def measure(
    variants: list[Variant],
    rounds: int,
    warmup: int = 2,
    device: str = 'cpu',
    memory: bool = True,
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
    for number in track(range(warmup + rounds), 'rounds', warmup + rounds):
        for variant in variants if number % 2 else reversed(variants):
            spent = seconds(variant.step)
            if number >= warmup:
                times[variant.name].append(spent)
    peaks = {v.name: peak_bytes(v.step, device) for v in variants} if memory else {}
    return [_row(v, times, peaks) for v in variants]


def _row(variant: Variant, times: dict, peaks: dict) -> dict:
    own, base = times[variant.name], times[variant.baseline]
    ratios = [a / b for a, b in zip(own, base, strict=True)]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75)).tolist()
    row = {
        'name': variant.name,
        'baseline': variant.baseline,
        'milliseconds': 1e3 * statistics.median(own),
        'ratio': middle,
        'ratio_quartiles': [low, high],
        'rounds': len(own),
    }
    if peaks:
        reference = peaks[variant.baseline]
        row['peak_mib'] = peaks[variant.name] / 2**20
        row['peak_ratio'] = peaks[variant.name] / reference if reference else None
    if variant.images:
        row['images_per_second'] = variant.images / statistics.median(own)
    return row

"""The operators a step spends its time in."""

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile


def costs(step: Callable, number: int) -> str:
    """The ``number`` operators with the most time of their own, with their share."""
    with profile(activities=[ProfilerActivity.CPU]) as run:
        step()
    events = run.key_averages()
    total = sum(e.self_cpu_time_total for e in events)
    events = sorted(events, key=lambda e: -e.self_cpu_time_total)[:number]
    lines = [
        f'{e.self_cpu_time_total / 1e3:9.1f} ms  {e.self_cpu_time_total / total:6.1%}'
        f'  {e.count:5d} x  {e.key}'
        for e in events
    ]
    return '\n'.join(lines)

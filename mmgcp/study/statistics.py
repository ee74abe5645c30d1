"""Mean, spread and paired difference over seeds."""

import math
from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

CONFIDENCE = 0.95


def summarize(values: Mapping[int, float]) -> dict[str, Any]:
    """Mean and spread (standard deviation, n - 1) of a metric by seed.

    The spread of a single seed is None.
    """
    numbers = list(values.values())
    spread = stdev(numbers) if len(numbers) > 1 else None
    return {'values': dict(values), 'mean': fmean(numbers), 'spread': spread}


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> dict[str, Any] | None:
    """Difference to the baseline over the seeds that both have, None without any.

    The interval is that of Student's t with n - 1 degrees of freedom for the mean
    of the paired differences. With one seed it is unknown, not zero.
    """
    seeds = [seed for seed in values if seed in baseline]
    if not seeds:
        return None
    differences = [values[seed] - baseline[seed] for seed in seeds]
    mean = fmean(differences)
    interval = includes_zero = None
    verdict = 'interval unknown: one seed'
    if len(seeds) > 1:
        from scipy.stats import t

        error = stdev(differences) / math.sqrt(len(seeds))
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1)) * error
        interval = (mean - half, mean + half)
        includes_zero = interval[0] <= 0 <= interval[1]
        verdict = f'{"higher" if mean > 0 else "lower"} than the baseline'
        if includes_zero:
            verdict = 'the interval includes zero: no difference shown'
    return {
        'seeds': seeds,
        'mean': mean,
        'interval': interval,
        'includes_zero': includes_zero,
        'verdict': verdict,
    }

"""Mean, spread and paired difference over seeds."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """One metric of one encoder over seeds.

    Args:
        values: The metric by seed.
        mean: Their mean.
        spread: Their standard deviation (n - 1), None for a single seed.
    """

    values: dict[int, float]
    mean: float
    spread: float | None

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """Paired difference of one encoder to the baseline, seed by seed.

    Args:
        seeds: Seeds that both have.
        mean: Mean of the differences.
        interval: 95 % t-interval of the mean, None when it is unknown.
        includes_zero: Whether the interval holds zero, None when it is unknown.
    """

    seeds: list[int]
    mean: float
    interval: tuple[float, float] | None
    includes_zero: bool | None

    def to_dict(self) -> dict:
        return asdict(self)

    def verdict(self) -> str:
        """What can be said about the difference, in words."""
        if self.interval is None:
            return 'interval unknown: one seed'
        if self.includes_zero:
            return 'the interval includes zero: no difference shown'
        return (
            'higher than the baseline' if self.mean > 0 else 'lower than the baseline'
        )


def summarise(values: Mapping[int, float]) -> Summary:
    """Mean and standard deviation.

    Args:
        values: The metric by seed; at least one.
    """
    numbers = list(values.values())
    spread = stdev(numbers) if len(numbers) > 1 else None
    return Summary(dict(values), fmean(numbers), spread)


def paired_difference(
    values: Mapping[int, float], baseline: Mapping[int, float]
) -> Difference | None:
    """Difference to the baseline over the seeds that both have.

    The interval is that of Student's t with n - 1 degrees of freedom for the mean
    of the paired differences. With one seed it is unknown, not zero.

    Args:
        values: The metric of an encoder by seed.
        baseline: The metric of the baseline by seed.

    Returns:
        None when no seed is common to both.
    """
    seeds = [seed for seed in values if seed in baseline]
    if not seeds:
        return None
    differences = [values[seed] - baseline[seed] for seed in seeds]
    mean = fmean(differences)
    if len(seeds) < 2:
        return Difference(seeds, mean, None, None)
    from scipy.stats import t

    error = stdev(differences) / math.sqrt(len(seeds))
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(seeds) - 1)) * error
    low, high = mean - half, mean + half
    return Difference(seeds, mean, (low, high), low <= 0 <= high)

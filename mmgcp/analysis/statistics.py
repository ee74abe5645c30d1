"""Differences between encoders over seeds: interval, p value, equivalence, power.

Student's t throughout, from scipy and statsmodels. In a paired comparison the values of
one seed are subtracted first; otherwise Welch's test compares two groups.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POWER = 0.8
#: Beyond this number of seeds a study is not worth planning.
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Summary:
    """One metric of one encoder over seeds.

    Attributes:
        values: The metric by seed.
        mean: Their mean.
        spread: Their standard deviation (n - 1), or None for a single seed.
        interval: Interval of the mean, or None for a single seed.
    """

    values: dict[int, float]
    mean: float
    spread: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """Difference of one encoder to another in one metric.

    Attributes:
        seeds: Seeds that both have, or the seeds of the smaller group.
        mean: Mean difference.
        interval: Interval of the mean difference.
        p: Two-sided p value of "no difference".
        p_adjusted: The same after Holm's adjustment over the primary end-points.
        p_equivalence: p value of "differs by the margin or more" (TOST).
        margin: The equivalence margin of the study.
        standard_error: That of the mean difference over seeds.
        spread: Standard deviation of what is compared: of the paired differences, or
            within the groups.
        effect: Mean difference in units of the spread.
        detectable: Smallest difference found with 80 % power at this spread.
        seeds_needed: Seeds for 80 % power if the difference is as observed.

    What takes a spread is None with one seed, or where no value varies.
    """

    seeds: int
    mean: float
    interval: tuple[float, float] | None = None
    p: float | None = None
    p_adjusted: float | None = None
    p_equivalence: float | None = None
    margin: float | None = None
    standard_error: float | None = None
    spread: float | None = None
    effect: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``equivalent``, ``not shown`` or ``unknown``."""
        p = self.p if self.p_adjusted is None else self.p_adjusted
        if p is None:
            return 'unknown'
        if p < ALPHA:
            return 'higher' if self.mean > 0 else 'lower'
        if self.p_equivalence is not None and self.p_equivalence < ALPHA:
            return 'equivalent'
        return 'not shown'

    def sentence(self, encoder: str, reference: str, metric: str) -> str:
        """The result in words."""
        pair = f'{encoder} and {reference}'
        if self.seeds < 2:
            return f'{pair} cannot be compared in {metric}: that takes two seeds.'
        if self.interval is None:
            return (
                f'{pair} differ by {self.mean:+.2f} in {metric}, the same for every '
                'seed: seeds cannot say how certain that is.'
            )
        low, high = self.interval
        span = f'{self.mean:+.2f} (95 % interval {low:+.2f} to {high:+.2f})'
        if self.verdict == 'equivalent':
            return (
                f'{pair} are equivalent in {metric} within {self.margin:g}: '
                f'the difference is {span}.'
            )
        if self.verdict != 'not shown':
            return (
                f'{encoder} is {self.verdict} than {reference} in {metric}: '
                f'the difference is {span}.'
            )
        more = self.seeds_needed or f'more than {MOST_SEEDS}'
        return (
            f'No difference between {pair} is shown in {metric}: it is {span}. '
            f'This study finds a difference of {self.detectable:.2f} four times in '
            f'five; to find one as observed takes {more} seeds.'
        )


def summarize(values: Mapping[int, float]) -> Summary:
    """Mean, standard deviation and interval of one metric.

    Args:
        values: The metric by seed; at least one.
    """
    from scipy import stats

    numbers = np.array(list(values.values()))
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return Summary(dict(values), mean, None, None)
    spread = float(numbers.std(ddof=1))
    half = (
        spread / math.sqrt(len(numbers)) * stats.t.ppf(1 - ALPHA / 2, len(numbers) - 1)
    )
    return Summary(dict(values), mean, spread, (mean - half, mean + half))


def compare(
    values: Mapping[int, float],
    baseline: Mapping[int, float],
    paired: bool = True,
    margin: float | None = None,
) -> Comparison | None:
    """Compare an encoder with another one over seeds.

    Args:
        values: The metric of the encoder by seed.
        baseline: The metric of the other encoder by seed.
        paired: Compare seed by seed, or the two groups (Welch).
        margin: Differences below it count as equivalent; tested by TOST.

    Returns:
        None when there is nothing to compare.
    """
    from scipy import stats
    from statsmodels.stats import weightstats

    if paired:
        common = [seed for seed in values if seed in baseline]
        one = np.array([values[seed] for seed in common])
        two = np.array([baseline[seed] for seed in common])
    else:
        one, two = np.array(list(values.values())), np.array(list(baseline.values()))
    seeds = min(len(one), len(two))
    if seeds == 0:
        return None
    mean = float(one.mean() - two.mean())
    if seeds < 2:
        return Comparison(seeds, mean)
    if paired:
        spread = float((one - two).std(ddof=1))
        error = spread / math.sqrt(seeds)
    else:
        variances = one.var(ddof=1), two.var(ddof=1)
        spread = math.sqrt(sum(variances) / 2)
        error = math.sqrt(variances[0] / len(one) + variances[1] / len(two))
    if spread < 1e-12:
        return Comparison(seeds, mean)
    welch = dict(equal_var=False)
    test = stats.ttest_rel(one, two) if paired else stats.ttest_ind(one, two, **welch)
    found = test.confidence_interval(CONFIDENCE)
    equivalence = None
    if margin is not None:
        kind = weightstats.ttost_paired if paired else weightstats.ttost_ind
        options = {} if paired else dict(usevar='unequal')
        equivalence = float(kind(one, two, -margin, margin, **options)[0])
    return Comparison(
        seeds,
        mean,
        interval=(float(found.low), float(found.high)),
        p=float(test.pvalue),
        p_equivalence=equivalence,
        margin=margin,
        standard_error=error,
        spread=spread,
        effect=mean / spread,
        detectable=detectable(seeds, paired) * spread,
        seeds_needed=seeds_needed(mean / spread, paired),
    )


def power(effect: float, seeds: int, paired: bool = True) -> float:
    """Probability that a t test of :data:`ALPHA` finds an effect.

    The square of Student's t is F-distributed. Unlike statsmodels' TTestPower, scipy's
    noncentral F gives no nan for few seeds and large effects.

    Args:
        effect: Difference in standard deviations.
        seeds: Seeds of each encoder, two or more.
        paired: Whether the comparison is paired.
    """
    from scipy import stats

    freedom = seeds - 1 if paired else 2 * (seeds - 1)
    shift = effect**2 * (seeds if paired else seeds / 2)
    return float(stats.ncf.sf(stats.f.isf(ALPHA, 1, freedom), 1, freedom, shift))


def detectable(seeds: int, paired: bool = True) -> float:
    """Effect that is found with 80 % power, in standard deviations."""
    from scipy.optimize import brentq

    return float(brentq(lambda effect: power(effect, seeds, paired) - POWER, 1e-6, 100))


def seeds_needed(effect: float, paired: bool = True) -> int | None:
    """Seeds (of each encoder) that find an effect with 80 % power.

    Returns:
        None for more than :data:`MOST_SEEDS`.
    """
    numbers = range(2, MOST_SEEDS + 1)
    place = bisect.bisect_left(
        numbers, True, key=lambda number: power(effect, number, paired) >= POWER
    )
    return numbers[place] if place < len(numbers) else None


def p_text(p: float | None) -> str:
    """A p value in a table; a dash where there is none."""
    if p is None:
        return '-'
    return '< 0.001' if p < 0.001 else f'{p:.3f}'


def adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Holm's adjustment of the p values; comparisons without one stay as they are."""
    from statsmodels.stats.multitest import multipletests

    places = [i for i, comparison in enumerate(comparisons) if comparison.p is not None]
    result = list(comparisons)
    if places:
        corrected = multipletests([result[i].p for i in places], method='holm')[1]
        for place, p in zip(places, corrected, strict=True):
            result[place] = replace(result[place], p_adjusted=float(p))
    return result

"""Statistics against scipy and statsmodels on known cases."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from mmgcp.analysis.statistics import (
    MOST_SEEDS,
    adjusted,
    compare,
    detectable,
    power,
    seeds_needed,
    summarize,
)

SOLVERS = [(True, TTestPower(), 'nobs'), (False, TTestIndPower(), 'nobs1')]
rng = np.random.default_rng(0)
BASE = {seed: float(30 + rng.normal()) for seed in range(8)}
BETTER = {seed: value + 2 + float(rng.normal(0, 0.5)) for seed, value in BASE.items()}
ALIKE = {seed: value + float(rng.normal(0, 0.2)) for seed, value in BASE.items()}


def test_summary_has_the_interval_of_scipy():
    found = summarize(BASE)
    numbers = list(BASE.values())
    expected = stats.t.interval(
        0.95, len(numbers) - 1, np.mean(numbers), stats.sem(numbers)
    )
    assert found.interval == pytest.approx(expected)
    assert summarize({0: 3.0}).interval is None


@pytest.mark.parametrize('paired', [True, False])
def test_a_difference_is_the_one_of_scipy(paired):
    found = compare(BETTER, BASE, paired)
    one, two = list(BETTER.values()), list(BASE.values())
    test = (
        stats.ttest_rel(one, two)
        if paired
        else stats.ttest_ind(one, two, equal_var=False)
    )
    assert found.p == pytest.approx(test.pvalue)
    assert found.interval == pytest.approx(tuple(test.confidence_interval()))
    assert found.verdict == 'higher'
    assert 'is higher than GAP in box AP' in found.sentence('iSQRT', 'GAP', 'box AP')


def test_pairs_are_the_common_seeds():
    found = compare({0: 2.0, 1: 3.5, 7: 100.0}, {0: 1.0, 1: 2.0, 2: -50.0})
    assert found.seeds == 2
    assert found.mean == pytest.approx(1.25)


def test_equivalence_is_both_one_sided_tests():
    found = compare(ALIKE, BASE, margin=1.0)
    differences = np.array([ALIKE[seed] - BASE[seed] for seed in BASE])
    lower = stats.ttest_1samp(differences, -1.0, alternative='greater').pvalue
    upper = stats.ttest_1samp(differences, 1.0, alternative='less').pvalue
    assert found.p_equivalence == pytest.approx(max(lower, upper))
    assert found.verdict == 'equivalent'
    assert 'are equivalent in box AP within 1: ' in found.sentence(
        'iSQRT', 'GAP', 'box AP'
    )


def test_nothing_shown_is_not_equal():
    values = {seed: value + (2 if seed % 2 else -2) for seed, value in BASE.items()}
    found = compare(values, BASE, margin=0.1)
    assert found.verdict == 'not shown'
    text = found.sentence('iSQRT', 'GAP', 'box AP')
    assert (
        f'more than {MOST_SEEDS} seeds' in text or f'{found.seeds_needed} seeds' in text
    )


@pytest.mark.parametrize(('paired', 'solver', 'name'), SOLVERS)
def test_power_is_the_one_of_statsmodels(paired, solver, name):
    for effect, seeds in ((0.3, 5), (0.8, 20), (2.0, 3), (0.05, 400)):
        expected = solver.power(effect, **{name: seeds}, alpha=0.05)
        assert power(effect, seeds, paired) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('paired', [True, False])
def test_seeds_needed_and_detectable_have_the_power(paired):
    number = seeds_needed(0.8, paired)
    assert power(0.8, number - 1, paired) < 0.8 <= power(0.8, number, paired)
    assert seeds_needed(1e-6, paired) is None
    # Two seeds and huge effects: where statsmodels gives nan.
    assert power(detectable(2, paired), 2, paired) == pytest.approx(0.8)
    assert seeds_needed(8, True) == 3
    found = compare(ALIKE, BASE, paired)
    effect = found.detectable / found.spread
    assert power(effect, 8, paired) == pytest.approx(0.8)


def test_holm_over_the_primary_end_points():
    raw = [compare(BETTER, BASE), compare(ALIKE, BASE), compare({0: 1.0}, {0: 2.0})]
    first, second, third = adjusted(raw)
    assert first.p_adjusted == pytest.approx(2 * raw[0].p)
    assert second.p_adjusted == pytest.approx(max(raw[1].p, first.p_adjusted))
    assert third == raw[2]


@pytest.mark.parametrize(
    ('values', 'baseline', 'words'),
    [
        ({0: 1.0}, {0: 2.0}, 'that takes two seeds'),
        ({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}, 'differ by +1.00'),
    ],
)
def test_one_seed_and_no_spread_are_unknown(values, baseline, words):
    found = compare(values, baseline)
    assert found.verdict == 'unknown'
    assert found.interval is None
    assert words in found.sentence('iSQRT', 'GAP', 'box AP')
    assert compare({0: 1.0}, {1: 1.0}) is None

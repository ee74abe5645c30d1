"""Figures of the report against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from mmgcp.study.statistics import paired_difference, summarize


@pytest.mark.parametrize('count', [2, 3, 7])
def test_paired_interval_is_the_one_of_scipy(count):
    rng = np.random.default_rng(count)
    a = dict(enumerate(rng.normal(30, 1, count).tolist()))
    b = dict(enumerate(rng.normal(31, 1, count).tolist()))
    found = paired_difference(a, b)
    test = stats.ttest_rel(list(a.values()), list(b.values()))
    interval = test.confidence_interval(0.95)
    assert found['interval'] == pytest.approx([interval.low, interval.high], rel=1e-10)
    assert found['includes_zero'] == (test.pvalue >= 0.05)


def test_known_numbers():
    # Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t(0.975, 2) = 4.302653
    found = paired_difference({0: 11.0, 1: 12.0, 2: 13.0}, {0: 10, 1: 10, 2: 10})
    half = 4.302652729749464 / np.sqrt(3)
    assert found['mean'] == 2
    assert found['interval'] == pytest.approx((2 - half, 2 + half), rel=1e-10)
    assert found['includes_zero']
    assert 'includes zero' in found['verdict']


def test_clear_difference_is_called_one():
    up = paired_difference({0: 2.0, 1: 2.1, 2: 2.05}, {0: 1.0, 1: 1.1, 2: 1.04})
    assert not up['includes_zero']
    assert up['verdict'] == 'higher than the baseline'
    down = paired_difference({0: 1.0, 1: 1.1, 2: 1.04}, {0: 2.0, 1: 2.1, 2: 2.05})
    assert down['verdict'] == 'lower than the baseline'


def test_one_seed_gives_no_interval():
    found = paired_difference({0: 2.0}, {0: 1.0})
    assert found['mean'] == 1.0
    assert found['interval'] is None
    assert found['includes_zero'] is None
    assert 'unknown' in found['verdict']
    assert summarize({0: 2.0})['spread'] is None


def test_only_common_seeds_are_paired():
    found = paired_difference({0: 5.0, 1: 6.0, 3: 9.0}, {1: 1.0, 2: 2.0, 3: 3.0})
    assert found['seeds'] == [1, 3]
    assert found['mean'] == 5.5
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_spread_is_the_sample_standard_deviation():
    values = {0: 1.0, 1: 4.0, 2: 10.0}
    found = summarize(values)
    assert found['mean'] == 5.0
    assert found['spread'] == pytest.approx(np.std([1, 4, 10], ddof=1))

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


@pytest.mark.parametrize(
    ('values', 'verdict'),
    [
        (
            {0: 11.0, 1: 12.0, 2: 13.0},
            'the interval includes zero: no difference shown',
        ),
        ({0: 11.0, 1: 11.1, 2: 11.05}, 'higher than the baseline'),
        ({0: 9.0, 1: 9.1, 2: 9.05}, 'lower than the baseline'),
        ({0: 11.0, 5: 12.0}, 'interval unknown: one seed'),
    ],
)
def test_verdict_says_what_the_interval_says(values, verdict):
    found = paired_difference(values, {0: 10.0, 1: 10.0, 2: 10.0, 3: 10.0})
    assert found['verdict'] == verdict
    common = [value - 10 for seed, value in values.items() if seed < 3]
    assert found['mean'] == pytest.approx(np.mean(common))
    assert paired_difference(values, {9: 1.0}) is None


def test_spread_is_the_sample_standard_deviation():
    found = summarize({0: 1.0, 1: 4.0, 2: 10.0})
    assert found['mean'] == 5.0
    assert found['spread'] == pytest.approx(np.std([1, 4, 10], ddof=1))
    assert summarize({0: 2.0})['spread'] is None

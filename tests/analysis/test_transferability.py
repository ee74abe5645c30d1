"""Transferability scores against dense formulas and independent optimizers."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from mmgcp.analysis.transferability import h_score, leep, logme, rank_correlation

pytestmark = pytest.mark.once


def clouds(number, size, classes=3, distance=1.0, seed=0):
    draw = np.random.default_rng(seed)
    labels = np.arange(number) % classes
    centers = distance * draw.normal(size=(classes, size))
    return centers[labels] + draw.normal(size=(number, size)), labels


@pytest.mark.parametrize('size', [5, 60], ids=['more images', 'more features'])
@pytest.mark.parametrize('scale', [0.1, 1.0, 10.0])
def test_logme_is_the_largest_evidence(size, scale):
    """The evidence is the density of the targets under a normal distribution."""
    x, labels = clouds(40, size, distance=0.3)
    expected = []
    for name in range(3):
        target = (labels == name).astype(float)

        def loss(logs, target=target):
            a, b = np.exp(logs)
            covariance = np.eye(40) / b + x @ x.T / a
            return -multivariate_normal.logpdf(target, cov=covariance)

        starts = [(i, 2.0) for i in (0.0, 4.0)]
        found = [minimize(loss, start, method='Nelder-Mead').fun for start in starts]
        expected.append(-min(found) / 40)
    assert logme(scale * x, labels) == pytest.approx(np.mean(expected), abs=2e-3)


def test_scores_rank_encoders_that_separate_the_classes():
    near, far = (clouds(60, 8, distance=d) for d in (0.1, 3.0))
    assert logme(*far) > logme(*near)
    assert h_score(*far) > 1 > h_score(*near)


def test_h_score_with_the_covariance_of_ledoit_and_wolf():
    x, labels = clouds(30, 6)
    centered = x - x.mean(0)
    plain = centered.T @ centered / 30
    mean = np.trace(plain) / 6 * np.eye(6)
    spread = sum(((np.outer(v, v) - plain) ** 2).sum() for v in centered) / 30**2
    shrinkage = min(spread / ((plain - mean) ** 2).sum(), 1)
    shrunk = (1 - shrinkage) * plain + shrinkage * mean
    means = np.stack([centered[labels == labels[i]].mean(0) for i in range(30)])
    ratio = np.linalg.solve(shrunk, (1 - shrinkage) * means.T @ means / 30)
    assert h_score(x, labels) == pytest.approx(np.trace(ratio), rel=1e-9)
    noise = np.random.default_rng(0).normal(size=(30, 100))
    assert h_score(noise, labels) < 2  # classes - 1, where the plain one stands


def test_leep_by_hand():
    # Class 0 of the data has the first class of pre-training, class 1 both alike.
    p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    first = 1.0 * (1.0 / 1.5)  # P(0 | first)
    second = 0.5 * (0.5 / 1.5) + 0.5 * 1.0
    expected = (np.log(first) + np.log(second)) / 2
    assert leep(p, np.array([4, 7])) == pytest.approx(expected)


def test_rank_correlation_by_hand():
    # Of 10 pairs 8 have the same order; squared differences of ranks 1 + 1 + 1 + 1.
    scores, results = [1, 2, 3, 4, 5], [20, 10, 30, 50, 40]
    found = rank_correlation(scores, results)
    assert found['kendall'] == pytest.approx(0.6)
    assert found['spearman'] == pytest.approx(1 - 6 * 4 / (5 * 24))
    # 14 of the 5! orders have two reversed pairs or fewer, as many all but two.
    assert found['p'] == pytest.approx(28 / 120)
    assert found['smallest_p'] == 2 / 120
    assert found['weighted'] == pytest.approx(weighted_tau(scores, results))


def weighted_tau(x, y):
    """Pairs weigh 1 / rank + 1 / rank, mean over the ranks in x and those in y."""
    totals = []
    for by in (x, y):
        rank = [1 + sum(other > value for other in by) for value in by]
        agree = weight = 0
        for i, j in itertools.combinations(range(len(x)), 2):
            one = 1 / rank[i] + 1 / rank[j]
            agree += one * np.sign((x[i] - x[j]) * (y[i] - y[j]))
            weight += one
        totals.append(agree / weight)
    return np.mean(totals)


def test_ties_and_constants_in_ranks():
    # Five of six pairs are untied in the scores, all in the results: 5 / sqrt(5 * 6).
    found = rank_correlation([1, 1, 2, 3], [1, 2, 3, 4])
    assert found['kendall'] == pytest.approx(5 / 30**0.5)
    assert rank_correlation([1, 1, 1], [1, 2, 3])['kendall'] is None
    assert rank_correlation([1], [2])['weighted'] is None

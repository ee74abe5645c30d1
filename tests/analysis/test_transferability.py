"""Transferability scores against dense formulas and independent optimizers."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from mmgcp.analysis.transferability import h_score, leep, logme

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

"""How well will an encoder do on a data set, judged without training on it?

Scores of the features of its training images; higher is better. Compare encoders of
one number of features on one data set: the scores depend on both.
"""

import math
from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import Any

import numpy as np

from .statistics import ALPHA, p_text

AGREEMENT_HEAD = [
    'measured frozen',
    'fine-tuned',
    *('encoders', 'Kendall tau_b', 'p', 'Spearman rho', 'weighted tau'),
    *('encoders x seeds', 'Kendall tau_b', 'Spearman rho'),
]

#: Smallest sum of squared residuals of LogME. Its targets are 0 and 1.
RESIDUAL_FLOOR = 1e-5


def logme(features: np.ndarray, labels: np.ndarray) -> float:
    """Largest logarithm of the evidence of linear models, per image, mean over classes.

    A Bayesian linear model with precisions ``a`` of the weights and ``b`` of the noise
    predicts 1 for the images of a class and 0 for all others. The fixed point of
    MacKay gives the ``a`` and ``b`` of the largest evidence. With fewer images ``N``
    than features ``D`` the ``D - N`` zero eigenvalues count in the determinant, which
    the published code leaves out.

    Args:
        features: ``(N, D)``.
        labels: Classes ``(N,)``.

    You et al., "LogME: practical assessment of pre-trained models for transfer
    learning", ICML 2021.
    """
    x = np.asarray(features, np.float64)
    number, size = x.shape
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    squares = singular**2
    return float(
        np.mean(
            [
                _log_evidence(left, singular, squares, labels == name, size) / number
                for name in np.unique(labels)
            ]
        )
    )


def _log_evidence(left, singular, squares, target, size: int) -> float:
    """Largest log evidence for one target ``(N,)`` of zeros and ones."""
    number, tiny = len(target), np.finfo(float).tiny
    projected = left.T @ target
    outside = max(target.sum() - projected @ projected, 0.0)
    a = b = 1.0
    for _ in range(100):
        mean = b * singular * projected / (a + b * squares)
        residual = ((projected - singular * mean) ** 2).sum() + outside
        residual = max(residual, RESIDUAL_FLOOR)
        weight = max(mean @ mean, tiny)
        evidence = 0.5 * (
            size * np.log(a)
            + number * np.log(b)
            - np.log(a + b * squares).sum()
            - (size - len(squares)) * np.log(a)
            - b * residual
            - a * weight
            - number * np.log(2 * np.pi)
        )
        used = (b * squares / (a + b * squares)).sum()
        old, a, b = a / b, max(used, tiny) / weight, (number - used) / residual
        if abs(a / b - old) <= 1e-6 * old:
            break
    return evidence


def h_score(features: np.ndarray, labels: np.ndarray) -> float:
    """Variance between the classes over all variance, the trace of their ratio.

    The covariance is that of Ledoit and Wolf: the plain one saturates at the number of
    classes minus 1 as soon as there are more features than images.

    Args:
        features: ``(N, D)``.
        labels: Classes ``(N,)``.

    Bao et al., "An information-theoretic approach to transferability in task transfer
    learning", ICIP 2019; Ibrahim et al., "Newer is not always better: rethinking
    transferability metrics", ECML 2022.
    """
    from sklearn.covariance import ledoit_wolf

    x = np.asarray(features, np.float64)
    x = x - x.mean(0)
    covariance, shrinkage = ledoit_wolf(x, assume_centered=True)
    names, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros((len(names), x.shape[1]))
    np.add.at(means, place, x)
    means /= counts[:, None]
    between = (means.T * counts) @ means / len(x)
    return float((1 - shrinkage) * np.trace(np.linalg.pinv(covariance) @ between))


def leep(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean log-likelihood of the classes, predicted from those of pre-training.

    Args:
        probabilities: Of the classes of pre-training, ``(N, S)``.
        labels: Classes ``(N,)`` of the data set.

    Nguyen et al., "LEEP: a new measure to evaluate transferability of learned
    representations", ICML 2020.
    """
    p = np.asarray(probabilities, np.float64)
    names, place = np.unique(labels, return_inverse=True)
    joint = np.zeros((len(names), p.shape[1]))
    np.add.at(joint, place, p)
    # A class of pre-training without any probability predicts nothing.
    conditional = joint / np.maximum(joint.sum(0), np.finfo(float).tiny)
    return float(np.log((conditional[place] * p).sum(1)).mean())


def rank_correlation(scores: Sequence[float], results: Sequence[float]) -> dict:
    """How far a score orders encoders as their results do.

    Args:
        scores: One of each encoder.
        results: What the encoders reached, in the same order.

    Returns:
        Their number ``n``; ``kendall`` (tau_b) with its ``p`` of "unrelated" and the
        ``smallest_p`` that ``n`` encoders can give, 2 / n!; ``spearman``; and
        ``weighted``, the tau of Vigna (WWW 2015) in which the best count most. It is
        the one of the papers on LogME. None where nothing can be ordered.
    """
    from scipy import stats

    n = len(scores)
    smallest = min(1.0, 2 / math.factorial(n))
    found: dict = {'n': n, 'smallest_p': smallest}
    if min(len(set(scores)), len(set(results))) < 2:
        return found | dict.fromkeys(('kendall', 'p', 'spearman', 'weighted'))
    kendall, p = stats.kendalltau(scores, results)
    return found | {
        'kendall': float(kendall),
        'p': float(p),
        'spearman': float(stats.spearmanr(scores, results)[0]),
        'weighted': float(stats.weightedtau(scores, results)[0]),
    }


def agreement(
    scores: Sequence[tuple[str, dict]], results: Sequence[tuple[str, dict]]
) -> list[dict[str, Any]]:
    """Rank correlation of each table of scores with each table of results.

    Over the means of the encoders, and over all encoders and seeds.

    Args:
        scores: Names and tables of :func:`mmgcp.analysis.tables.tables_of`.
        results: The same of what the encoders reached.
    """
    rows = []
    for (score, one), (point, other) in product(scores, results):
        means, runs = [], []
        for name, row in one['encoders'].items():
            reached = other['encoders'].get(name, {}).get('values', {})
            pairs = [(v, reached[s]) for s, v in row['values'].items() if s in reached]
            runs += pairs
            if pairs:
                means.append([fmean(side) for side in zip(*pairs, strict=True)])
        if means:
            rows.append(
                {
                    'score': score,
                    'end_point': point,
                    'labels': [one['label'], other['label']],
                    'encoders': rank_correlation(*zip(*means, strict=True)),
                    'runs': rank_correlation(*zip(*runs, strict=True)),
                }
            )
    return rows


def agreement_rows(found: Sequence[dict]) -> list[list[str]]:
    """Rows under :data:`AGREEMENT_HEAD`; a dash where nothing can be ordered."""

    def cells(row: dict, *keys: str) -> list[str]:
        values = ('-' if row[key] is None else f'{row[key]:+.2f}' for key in keys)
        return [str(row['n']), *values]

    rows = []
    for entry in found:
        means = cells(entry['encoders'], 'kendall', 'spearman', 'weighted')
        means.insert(2, p_text(entry['encoders']['p']))
        runs = cells(entry['runs'], 'kendall', 'spearman')
        rows.append([*entry['labels'], *means, *runs])
    return rows


def agreement_note(found: Sequence[dict]) -> str:
    """How to read the rank correlations, and whether there are enough encoders."""
    note = (
        "1 is the same order, -1 the reverse. p is that of Kendall's tau over the means "
        'of the encoders, not adjusted for the number of rows. Seeds of one encoder are '
        'not independent, so their correlations have no p.'
    )
    most = max((entry['encoders'] for entry in found), key=lambda means: means['n'])
    if most['smallest_p'] < ALPHA:
        return note
    return (
        f'{note} {most["n"]} encoders are too few to conclude anything: the same order '
        f'or its reverse comes by chance with p = {most["smallest_p"]:.2f}.'
    )

"""Scores of a corruption benchmark from its table of metrics."""

from collections.abc import Mapping

import numpy as np

from mmgcp.datasets.corruption import CORRUPTIONS, SEVERITIES
from .metrics import MAIN_METRICS

# AlexNet's top-1 error on ImageNet-C, mean over the five severities, as
# google-research/augmix (imagenet.py) lists them.
ALEXNET_ERRORS = {
    'gaussian_noise': 0.886428,
    'shot_noise': 0.894468,
    'impulse_noise': 0.922640,
    'defocus_blur': 0.819880,
    'glass_blur': 0.826268,
    'motion_blur': 0.785948,
    'zoom_blur': 0.798360,
    'snow': 0.866816,
    'frost': 0.826572,
    'fog': 0.819324,
    'brightness': 0.564592,
    'contrast': 0.853204,
    'elastic_transform': 0.646056,
    'pixelate': 0.717840,
    'jpeg_compression': 0.606500,
}
Table = Mapping[str, Mapping[int, Mapping[str, float]]]


def performance_under_corruption(clean: Mapping, table: Table) -> dict:
    """mPC and rPC of every metric (C. Michaelis et al., 2019).

    ``mPC`` is the mean over corruptions and severities, ``rPC`` its share of the
    performance on clean images. COCO's metric gives -1 where the data have nothing to
    find, such as objects of a size; there is no mean of that.

    Args:
        clean (Mapping): Metric to value on clean images.
        table (Mapping): Corruption to severity to metric to value.
    """
    result = {}
    for metric, value in clean.items():
        cells = [cell[metric] for row in table.values() for cell in row.values()]
        mean = float(np.mean(cells)) if value >= 0 else None
        share = None if mean is None or not value else mean / value
        result[metric] = {'clean': value, 'mPC': mean, 'rPC': share}
    return result


def errors(table: Table, metric: str) -> dict[str, float]:
    """Error of each corruption, mean over severities, in [0, 1]."""
    scale = MAIN_METRICS.get(metric, 1.0)
    return {
        name: 1 - float(np.mean([cell[metric] for cell in row.values()])) / scale
        for name, row in table.items()
    }


def mean_corruption_error(table: Table, metric: str, classes: int) -> dict:
    """mCE against AlexNet, in per cent, or the reason why there is none."""
    reasons = []
    if metric != 'accuracy/top1' or classes != 1000:
        reasons.append("AlexNet's errors are known for ImageNet's 1000 classes only")
    if set(table) != set(CORRUPTIONS):
        reasons.append('it is defined over all 15 corruptions')
    if any(set(row) != set(SEVERITIES) for row in table.values()):
        reasons.append('it is defined over all 5 severities')
    if reasons:
        return {'mCE': None, 'reason': '; '.join(reasons)}
    found = errors(table, metric)
    ratios = {name: found[name] / ALEXNET_ERRORS[name] for name in CORRUPTIONS}
    return {
        'mCE': 100 * float(np.mean(list(ratios.values()))),
        'CE': {name: 100 * ratio for name, ratio in ratios.items()},
    }


def relative_error(table: Table, reference: Table, metric: str) -> float | None:
    """mCE with another run in AlexNet's place, in per cent."""
    own, other = errors(table, metric), errors(reference, metric)
    if set(own) != set(other) or not all(other.values()):
        return None
    return 100 * float(np.mean([own[name] / other[name] for name in own]))

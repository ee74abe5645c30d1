"""Second moments that grow batch by batch, and numbers that sum up a spectrum."""

import math

import numpy as np
import torch
from torch import Tensor

from mmgcp.engine.distributed import sum_over_processes


class Moments:
    """Mean and covariance of vectors that arrive in pieces, in double precision.

    Args:
        size (int): Length of the vectors.
        centred (bool): Subtract the mean; otherwise the raw second moment.
    """

    def __init__(self, size: int, centred: bool = True) -> None:
        self.centred = centred
        self.count = torch.zeros(1, dtype=torch.float64)
        self.sum = torch.zeros(size, dtype=torch.float64)
        self.product = torch.zeros(size, size, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Take in ``(N, size)`` vectors."""
        vectors = vectors.detach().double()
        self.count += len(vectors)
        self.sum += vectors.sum(0).cpu()
        self.product += (vectors.T @ vectors).cpu()

    def merge_processes(self) -> None:
        """Make it the moments of what all processes took in."""
        self.count = sum_over_processes(self.count)
        self.sum = sum_over_processes(self.sum)
        self.product = sum_over_processes(self.product)

    def matrix(self) -> Tensor:
        """Covariance (or second moment) ``(size, size)``.

        Raises:
            ValueError: No vector came in.
        """
        count = float(self.count)
        if count == 0:
            raise ValueError('no vectors: nothing to take a moment of')
        matrix = self.product / count
        if self.centred:
            mean = self.sum / count
            matrix = matrix - torch.outer(mean, mean)
        return matrix


def positions(features: Tensor) -> Tensor:
    """Rows of channels: ``(B, C, H, W)`` or ``(B, N, C)`` -> ``(B*N, C)``."""
    if features.dim() == 4:
        return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return features.reshape(-1, features.shape[-1])


def symmetric_spectrum(matrix: Tensor) -> np.ndarray:
    """Eigenvalues of a positive semi-definite matrix, largest first, >= 0."""
    values = torch.linalg.eigvalsh(matrix).flip(0)
    return values.clamp_min(0).numpy()


def summarise(eigenvalues: np.ndarray, tolerance: float = 1e-7) -> dict:
    """Describe a spectrum.

    Args:
        eigenvalues (np.ndarray): Non-negative, largest first.
        tolerance (float): Eigenvalues below this share of the largest count as
            zero for ``rank`` and ``condition``.

    Returns:
        dict: ``effective_rank``, the exponential of the entropy of the
        normalised eigenvalues (O. Roy and M. Vetterli, EUSIPCO 2007);
        ``participation``, (sum)^2 / sum of squares; ``rank``; ``condition``,
        largest over smallest non-zero one; ``largest_share``; ``trace``.
    """
    total = float(eigenvalues.sum())
    if total <= 0:
        return {
            'effective_rank': 0.0,
            'participation': 0.0,
            'rank': 0,
            'condition': math.nan,
            'largest_share': math.nan,
            'trace': 0.0,
        }
    share = eigenvalues / total
    positive = share[share > 0]
    kept = eigenvalues[eigenvalues > tolerance * eigenvalues[0]]
    return {
        'effective_rank': float(np.exp(-(positive * np.log(positive)).sum())),
        'participation': float(1 / (share**2).sum()),
        'rank': len(kept),
        'condition': float(kept[0] / kept[-1]),
        'largest_share': float(share[0]),
        'trace': total,
    }


def mean_correlation(covariance: Tensor) -> float:
    """Mean absolute correlation of two different channels that vary."""
    scale = covariance.diagonal().clamp_min(0).sqrt()
    alive = scale > 1e-9 * scale.max()
    if int(alive.sum()) < 2:
        return math.nan
    scale = scale[alive]
    correlation = covariance[alive][:, alive] / torch.outer(scale, scale)
    off = correlation.abs().sum() - correlation.diagonal().abs().sum()
    return float(off / (len(scale) * (len(scale) - 1)))


def linear_cka(x: Tensor, y: Tensor) -> float:
    """Similarity of two representations of the same ``N`` images.

    Linear centred kernel alignment of S. Kornblith et al., "Similarity of
    Neural Network Representations Revisited" (ICML 2019): 1 for equality up to
    rotation and scale, 0 for nothing in common.

    Args:
        x (Tensor): ``(N, P)``.
        y (Tensor): ``(N, Q)``.
    """
    x, y = (t.double() - t.double().mean(0) for t in (x, y))
    cross = (x.T @ y).square().sum()
    norms = (x.T @ x).norm() * (y.T @ y).norm()
    return float(cross / norms) if norms > 0 else math.nan

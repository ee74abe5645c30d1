"""Second moments gathered batch by batch, and numbers that describe a spectrum."""

import math

import numpy as np
import torch
from torch import Tensor

from mmgcp.engine.distributed import sum_over_processes


class Moments:
    """Mean and covariance of vectors that arrive in pieces, in double precision.

    ``size`` is their length. Without ``centered`` it is the raw second moment.
    """

    def __init__(self, size: int, centered: bool = True) -> None:
        self.centered = centered
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
        """Covariance (or second moment) ``(size, size)`` of one vector or more."""
        matrix = self.product / self.count
        if self.centered:
            mean = self.sum / self.count
            matrix = matrix - torch.outer(mean, mean)
        return matrix

    def describe(self) -> dict:
        """Eigenvalues of :meth:`matrix`, largest first, and their summary."""
        values = torch.linalg.eigvalsh(self.matrix()).flip(0).clamp_min(0).numpy()
        return {**summarize(values), 'eigenvalues': values}


def positions(features: Tensor) -> Tensor:
    """Rows of channels: ``(B, C, H, W)`` or ``(B, N, C)`` -> ``(B*N, C)``."""
    if features.dim() == 4:
        return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return features.reshape(-1, features.shape[-1])


def summarize(eigenvalues: np.ndarray, tolerance: float = 1e-7) -> dict:
    """Describe the eigenvalues of a spectrum, which are not negative, largest first.

    ``effective_rank`` is the exponential of the entropy of the normalized eigenvalues
    (O. Roy and M. Vetterli, EUSIPCO 2007), ``participation`` (sum)^2 / sum of squares,
    ``condition`` the largest over the smallest non-zero one. For it and for ``rank`` an
    eigenvalue below ``tolerance`` times the largest is zero.
    """
    total = float(eigenvalues.sum())
    if total <= 0:
        zero = dict.fromkeys(('effective_rank', 'participation', 'rank', 'trace'), 0.0)
        return {**zero, 'condition': math.nan}
    share = eigenvalues / total
    positive = share[share > 0]
    kept = eigenvalues[eigenvalues > tolerance * eigenvalues[0]]
    return {
        'effective_rank': float(np.exp(-(positive * np.log(positive)).sum())),
        'participation': float(1 / (share**2).sum()),
        'rank': len(kept),
        'condition': float(kept[0] / kept[-1]),
        'trace': total,
    }

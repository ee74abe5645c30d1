"""Scalar functions of eigenvalues and their divided differences.

Divided differences ``(f(a) - f(b)) / (a - b)`` are the kernel of the Daleckii-Krein
formula. None is computed as a difference, so close eigenvalues cost no digits.
"""

import torch
from torch import Tensor


def kept(values: Tensor, size: int) -> Tensor:
    """Which eigenvalues ``(B, n)`` (ascending) are more than rounding noise.

    The bound ``size * eps * largest`` is the usual one for a numerical rank.
    """
    info = torch.finfo(values.dtype)
    # An all-zero matrix has the bound zero: the second condition drops its noise.
    return (values > size * info.eps * values[:, -1:]) & (values > info.tiny)


def powers(values: Tensor, alpha: float, size: int) -> Tensor:
    """``t ** alpha`` of the kept eigenvalues ``(B, n)``, 0 for the others."""
    mask = kept(values, size)
    safe = torch.where(mask, values, torch.ones_like(values))
    return torch.where(mask, safe**alpha, torch.zeros_like(values))


def power_kernel(values: Tensor, alpha: float, size: int) -> Tensor:
    """Divided differences ``(B, n, n)`` of :func:`powers`.

    A pair of a kept value ``a`` and a dropped one gives ``a ** alpha / a``; only
    pairs of two dropped values give 0.
    """
    mask = kept(values, size)
    safe = torch.where(mask, values, torch.ones_like(values))
    if alpha == 0.5:
        root = torch.where(mask, safe.sqrt(), torch.zeros_like(safe))
        total = root.unsqueeze(2) + root.unsqueeze(1)
        return torch.where(total > 0, 1 / total, torch.zeros_like(total))
    single = torch.where(mask, safe ** (alpha - 1), torch.zeros_like(safe))
    # Exactly one of the two terms of a mixed pair is not zero.
    mixed = single.unsqueeze(2) + single.unsqueeze(1)
    both = mask.unsqueeze(2) & mask.unsqueeze(1)
    return torch.where(both, _log_ratio_kernel(safe, alpha), mixed)


def _log_ratio_kernel(values: Tensor, alpha: float) -> Tensor:
    # (a^p - b^p) / (a - b) with hyperbolic sines of half the log-ratio: an even,
    # smooth function of it, so close eigenvalues cost no digits.
    logs = values.log()
    row, column = logs.unsqueeze(2), logs.unsqueeze(1)
    half = (row - column) / 2
    ratio = torch.sinh(alpha * half) / torch.sinh(half)
    ratio = torch.where(half == 0, torch.full_like(half, alpha), ratio)
    return torch.exp((alpha - 1) / 2 * (row + column)) * ratio


def logarithms(values: Tensor, eps: float) -> Tensor:
    """``log(1 + t / eps)`` of eigenvalues ``(B, n)``; rounding below 0 counts as 0."""
    return torch.log1p(values.clamp_min(0) / eps)


def logarithm_kernel(values: Tensor, eps: float) -> Tensor:
    """Divided differences ``(B, n, n)`` of :func:`logarithms`."""
    logs = torch.log(values.clamp_min(0) + eps)
    row, column = logs.unsqueeze(2), logs.unsqueeze(1)
    half = (row - column) / 2
    ratio = torch.where(half == 0, torch.ones_like(half), half / torch.sinh(half))
    return torch.exp(-(row + column) / 2) * ratio

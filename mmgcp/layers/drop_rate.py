"""The rule of DropCov: how important channels are, and how many of them to drop."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from .covariance import flatten_positions
from .precision import full_precision


@full_precision
def channel_drop_rate(
    x: Tensor, importance: Tensor, max_rate: float = 1.0, sync: bool = False
) -> Tensor:
    """Rate at which DropCov drops channels, one number for the batch.

    ``1 - 10 / log2(C) * s``, limited to ``[0, max_rate]``, where ``s`` is the mean over
    the samples of the cosine between the importance of the channels and the row sums
    of their covariance. A sample whose covariance has no row sums (a dead or constant
    map) has no cosine and does not count; if none counts, the rate is 0.

    Args:
        x: Features ``(B, C, H, W)`` or ``(B, C, N)``.
        importance: Importance of the channels ``(B, C)``.
        max_rate: Upper limit.
        sync: Average the cosine over the processes of torch.distributed.

    Returns:
        The rate, a tensor of no dimensions and without gradient.

    Wang et al., "DropCov: a simple yet effective method for improving deep
    architectures", NeurIPS 2022.
    """
    with torch.no_grad():
        x = flatten_positions(x)
        means = x.mean(2)
        deviation = x - means.unsqueeze(2)
        sums = _row_sums(deviation, deviation.sum(1).unsqueeze(2))
        return _rate_from_row_sums(sums, means, x.size(2), importance, max_rate, sync)


def importance_of_means(means: Tensor, weight: Tensor) -> Tensor:
    """Softmax over the channels of a convolution of three weights along them.

    Args:
        means: Means of the channels over the positions ``(B, C)``.
        weight: The filter, three numbers of any shape.

    Returns:
        Importance ``(B, C)``, each row sums to 1.
    """
    # The convolution as a product of windows and weights: for one filter of three
    # weights a convolution call costs more than its arithmetic.
    windows = F.pad(means, (1, 1)).unfold(1, 3, 1)
    return (windows @ weight.to(means.dtype).flatten()).softmax(1)


def rate_of_reweighted(
    deviation: Tensor,
    means: Tensor,
    importance: Tensor,
    max_rate: float,
    sync: bool,
) -> Tensor:
    """:func:`channel_drop_rate` of features times one plus the importance.

    Args:
        deviation: Features minus their means over the positions ``(B, C, N)``.
        means: The means ``(B, C)``.
        importance: Importance of the channels ``(B, C)``.
        max_rate: Upper limit.
        sync: Average the cosine over the processes of torch.distributed.
    """
    # Row sums of the covariance of x * f are f * (Xc (Xc' f)) / N: the re-weighted
    # features are never formed.
    factors = 1 + importance
    onto = torch.bmm(deviation.transpose(1, 2), factors.unsqueeze(2))
    sums = _row_sums(deviation, onto).mul_(factors)
    return _rate_from_row_sums(
        sums, means, deviation.size(2), importance, max_rate, sync
    )


def _row_sums(deviation: Tensor, onto: Tensor) -> Tensor:
    """``N`` times the row sums ``(B, C)`` of a covariance, without the covariance.

    They are a product of the covariance and a vector of ones: two matrix-vector
    products take the place of ``C x C`` entries.
    """
    return torch.bmm(deviation, onto).squeeze(2)


def _rate_from_row_sums(
    sums: Tensor,
    means: Tensor,
    positions: int,
    importance: Tensor,
    max_rate: float,
    sync: bool,
) -> Tensor:
    # Divided by the largest first: squares of tiny or huge row sums leave float32.
    largest = torch.linalg.vector_norm(sums, math.inf, dim=1, keepdim=True)
    # Row sums that a constant map can have by rounding of its means.
    residue = 4 * torch.finfo(means.dtype).eps * (means.size(1) * positions) ** 0.5
    highest = torch.linalg.vector_norm(means, math.inf, dim=1)
    alive = largest.squeeze(1) > (highest * residue).square()
    sums = sums / largest
    lengths = torch.linalg.vector_norm(sums, dim=1) * torch.linalg.vector_norm(
        importance, dim=1
    )
    cosine = torch.where(alive, (sums * importance).sum(1) / lengths, 0.0)
    total, count = cosine.sum(), alive.sum()
    if sync and dist.is_available() and dist.is_initialized():
        totals = torch.stack([total, count.to(total.dtype)])
        dist.all_reduce(totals)
        total, count = totals.unbind(0)
    # No sample that counts gives 0 / 0.
    rate = 1 - 10 / math.log2(sums.size(1)) * (total / count)
    return rate.clamp(0, max_rate).nan_to_num(0.0)


def keep_factors(rate: Tensor, batch: int, channels: int) -> Tensor:
    """Independent factors ``(B, C)``: ``1 / (1 - rate)`` or, where dropped, 0.

    At a rate of 1 all of them are 0.
    """
    keep = 1 - rate
    draw = torch.rand(batch, channels, dtype=rate.dtype, device=rate.device)
    # A draw is below 1, so nothing is below a keep of 0 and its inverse is not used.
    return torch.where(draw < keep, keep.reciprocal(), 0.0)

"""Adaptive channel dropout in front of the covariance (DropCov)."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .autograd import full_precision
from .covariance import flatten_positions


class DropCov(nn.Module):
    """Drop channels at a rate that follows how the covariance matches importance.

    In training the features are multiplied by one plus the importance of their
    channel (a softmax of a convolution over the channel means). Then channels are
    dropped per sample at the rate of :meth:`rate`, and what is kept is divided by one
    minus the rate. At inference the module is the identity.

    Three properties of the published rule to know about. The re-weighting exists in
    training only. Dropout inflates the diagonal of the covariance by
    ``1 / (1 - rate)`` against inference while the rest stays unbiased. And the rate
    grows with ``C / N`` for ``N`` positions, because row sums over few positions are
    mostly noise: independent channels of one variance have a cosine of about
    ``(1 + (C - 1) / (N - 1)) ** -0.5``, which gives a rate of 0.18 for 256 channels on
    14 x 14 positions, 0 for 128 or 64, but 0.44 for 64 channels on 3 x 3. On small
    maps, take fewer channels, set ``max_rate``, or train for longer.

    Args:
        channels: Number of channels, at least 2 (the rule divides by its logarithm).
        sync_rate: Average the statistic over all processes. The published code uses
            the samples of each process alone.
        max_rate: Upper limit of the rate. At a rate of 1 the whole output is zero and
            nothing before it learns; 0.95 avoids that.

    Raises:
        ValueError: An argument is out of range.

    Wang et al., "DropCov: a simple yet effective method for improving deep
    architectures", NeurIPS 2022.
    """

    def __init__(
        self, channels: int, sync_rate: bool = False, max_rate: float = 1.0
    ) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f'channels must be at least 2, got {channels}')
        if not 0 <= max_rate <= 1:
            raise ValueError(f'max_rate must be within [0, 1], got {max_rate}')
        self.channels = channels
        self.sync_rate, self.max_rate = sync_rate, max_rate
        self.importance = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def channel_importance(self, x: Tensor) -> Tensor:
        """Importance of the channels of ``(B, C, H, W)``: ``(B, C)``, each row sums to 1."""
        return _importance(flatten_positions(x), self.importance.weight)

    def rate(self, x: Tensor) -> Tensor:
        """Rate for features ``(B, C, H, W)`` as they enter the module, one number.

        ``1 - 10 / log2(C) * s``, limited to ``[0, max_rate]``, where ``s`` is the mean
        over the samples of the cosine between the importance of the channels and the
        row sums of the covariance of the re-weighted features. A sample whose
        covariance has no row sums (a dead or constant map) has no cosine and does not
        count; if none counts, the rate is 0. It has no gradient.
        """
        return _rate(flatten_positions(x), *self._arguments())

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``.

        Raises:
            ValueError: ``x`` does not have ``channels`` channels.
        """
        if x.size(1) != self.channels:
            raise ValueError(f'expected {self.channels} channels, got {x.size(1)}')
        if not self.training:
            return x
        factors = _factors(flatten_positions(x), *self._arguments())
        return x * factors.view(x.shape[:2] + (1,) * (x.dim() - 2)).to(x.dtype)

    def _arguments(self) -> tuple[Tensor, float, bool]:
        return self.importance.weight, self.max_rate, self.sync_rate

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return f'{self.channels}, sync_rate={self.sync_rate}, max_rate={self.max_rate}'


def _importance_of_means(means: Tensor, weight: Tensor) -> Tensor:
    """Importance ``(B, C)`` from the means ``(B, C)`` of the channels."""
    # The convolution as a product of windows and weights: for one filter of three
    # weights a convolution call costs more than its arithmetic.
    windows = F.pad(means, (1, 1)).unfold(1, 3, 1)
    return (windows @ weight.to(means.dtype).flatten()).softmax(1)


@full_precision
def _importance(x: Tensor, weight: Tensor) -> Tensor:
    return _importance_of_means(x.mean(2), weight)


@full_precision
def _rate(x: Tensor, weight: Tensor, max_rate: float, sync: bool) -> Tensor:
    with torch.no_grad():
        means = x.mean(2)
        importance = _importance_of_means(means, weight)
        return _rate_of(x, means, importance, max_rate, sync)


@full_precision
def _factors(x: Tensor, weight: Tensor, max_rate: float, sync: bool) -> Tensor:
    """One plus the importance where a channel is kept, rescaled; else 0: ``(B, C)``."""
    means = x.mean(2)
    importance = _importance_of_means(means, weight)
    with torch.no_grad():
        keep = 1 - _rate_of(x, means, importance, max_rate, sync)
        # A draw is below 1: at a rate of 1 all are dropped, whatever the inverse.
        kept = torch.rand_like(means) < keep
        factors = torch.where(kept, keep.reciprocal(), 0.0)
    return (1 + importance) * factors


def _rate_of(
    x: Tensor, means: Tensor, importance: Tensor, max_rate: float, sync: bool
) -> Tensor:
    """:meth:`DropCov.rate` of features ``(B, C, N)`` with their means ``(B, C)``."""
    deviation = x - means.unsqueeze(2)
    # Row sums of the covariance of x * f are f * (Xc (Xc' f)) / N: two matrix-vector
    # products take the place of C x C entries.
    factors = 1 + importance
    onto = torch.bmm(deviation.transpose(1, 2), factors.unsqueeze(2))
    sums = torch.bmm(deviation, onto).squeeze(2).mul_(factors)
    # Divided by the largest first: squares of tiny or huge row sums leave float32.
    largest = torch.linalg.vector_norm(sums, math.inf, dim=1, keepdim=True)
    # Row sums that a constant map can have by rounding of its means.
    channels, positions = deviation.shape[1:]
    residue = 4 * torch.finfo(means.dtype).eps * (channels * positions) ** 0.5
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
    rate = 1 - 10 / math.log2(channels) * (total / count)
    return rate.clamp(0, max_rate).nan_to_num(0.0)

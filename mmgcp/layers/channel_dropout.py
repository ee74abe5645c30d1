"""Adaptive channel dropout, the pre-normalisation of DropCov."""

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .covariance import centre, flatten_positions
from .precision import full_precision

REWEIGHT = ('train', 'always')


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
        deviation = centre(x)
        # Row sums are a product of the covariance and a vector of ones: two
        # matrix-vector products take the place of the C x C covariance.
        sums = deviation @ deviation.sum(1).unsqueeze(2) / x.size(-1)
        noise = _noise(x.mean(2))
        return rate_from_row_sums(sums.squeeze(2), noise, importance, max_rate, sync)


def _noise(means: Tensor) -> Tensor:
    """Row sums ``(B, 1)`` that a constant map can have by rounding of its means."""
    residue = 4 * torch.finfo(means.dtype).eps
    return means.abs().amax(1, keepdim=True).square() * (residue**2 * means.size(1))


def rate_from_row_sums(
    sums: Tensor, noise: Tensor, importance: Tensor, max_rate: float, sync: bool
) -> Tensor:
    """The rule of :func:`channel_drop_rate` from row sums ``(B, C)``."""
    # Divided by the largest first: squares of tiny or huge row sums leave float32.
    largest = sums.abs().amax(1, keepdim=True)
    alive = largest > noise
    sums = torch.where(alive, sums / largest, 1.0)
    cosine = F.cosine_similarity(sums, importance)
    alive = alive.squeeze(1).to(cosine.dtype)
    totals = torch.stack([(cosine * alive).sum(), alive.sum()])
    if sync and dist.is_available() and dist.is_initialized():
        dist.all_reduce(totals)
    mean = totals[0] / totals[1].clamp_min(1)
    rate = (1 - 10 / math.log2(sums.size(1)) * mean).clamp(0, max_rate)
    return torch.where(totals[1] > 0, rate, 0.0)


def keep_factors(rate: Tensor, batch: int, channels: int) -> Tensor:
    """Independent factors ``(B, C)``: ``1 / (1 - rate)`` or, where dropped, 0.

    At a rate of 1 all of them are 0.
    """
    keep = 1 - rate
    scale = torch.where(keep > 0, 1 / keep, 0.0)
    draw = torch.rand(batch, channels, dtype=rate.dtype, device=rate.device)
    return (draw < keep) * scale


class AdaptiveChannelDropout(nn.Module):
    """Drop channels at a rate that follows how the covariance matches importance.

    In training the features are multiplied by one plus the importance of their
    channel (a softmax of a convolution over the channel means), then channels are
    dropped per sample at the rate of :func:`channel_drop_rate`, and what is kept is
    divided by one minus the rate. Otherwise the module is the identity.

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
        reweight: ``'train'`` as published, or ``'always'`` to keep the re-weighting
            (not the dropout) at inference, so that both see the same features.

    Raises:
        ValueError: An argument is out of range.

    Wang et al., "DropCov: a simple yet effective method for improving deep
    architectures", NeurIPS 2022.
    """

    def __init__(
        self,
        channels: int,
        sync_rate: bool = False,
        max_rate: float = 1.0,
        reweight: str = 'train',
    ) -> None:
        super().__init__()
        if channels < 2:
            raise ValueError(f'channels must be at least 2, got {channels}')
        if not 0 <= max_rate <= 1:
            raise ValueError(f'max_rate must be within [0, 1], got {max_rate}')
        if reweight not in REWEIGHT:
            raise ValueError(f'reweight must be one of {REWEIGHT}, got {reweight!r}')
        self.channels, self.sync_rate = channels, sync_rate
        self.max_rate, self.reweight = max_rate, reweight
        self.importance = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def channel_importance(self, x: Tensor) -> Tensor:
        """Importance of the channels of ``(B, C, H, W)``: ``(B, C)``, each row sums to 1."""
        return _importance(flatten_positions(x), self.importance.weight)

    def rate(self, x: Tensor) -> Tensor:
        """Rate for features ``(B, C, H, W)`` as they enter the module."""
        x = flatten_positions(x)
        return _rate(x, self.importance.weight, self.max_rate, self.sync_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``.

        Raises:
            ValueError: ``x`` does not have ``channels`` channels.
        """
        if x.size(1) != self.channels:
            raise ValueError(f'expected {self.channels} channels, got {x.size(1)}')
        if not self.training and self.reweight == 'train':
            return x
        if self.training:
            factors = _training_factors(
                flatten_positions(x),
                self.importance.weight,
                self.max_rate,
                self.sync_rate,
            )
        else:
            factors = 1 + self.channel_importance(x)
        factors = factors.view(x.shape[:2] + (1,) * (x.dim() - 2))
        return x * factors.to(x.dtype)

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return (
            f'{self.channels}, sync_rate={self.sync_rate}, max_rate={self.max_rate}, '
            f'reweight={self.reweight!r}'
        )


@full_precision
def _importance(x: Tensor, weight: Tensor) -> Tensor:
    return _importance_of_means(x.mean(2), weight)


@full_precision
def _rate(x: Tensor, weight: Tensor, max_rate: float, sync: bool) -> Tensor:
    with torch.no_grad():
        means = x.mean(2)
        importance = _importance_of_means(means, weight)
        return _rate_of_importance(x, means, importance, max_rate, sync)


@full_precision
def _training_factors(x: Tensor, weight: Tensor, max_rate: float, sync: bool) -> Tensor:
    """One plus the importance where a channel is kept, rescaled; else 0: ``(B, C)``."""
    means = x.mean(2)
    importance = _importance_of_means(means, weight)
    with torch.no_grad():
        rate = _rate_of_importance(x, means, importance, max_rate, sync)
        keep = keep_factors(rate, *importance.shape)
    return (1 + importance) * keep


def _importance_of_means(means: Tensor, weight: Tensor) -> Tensor:
    # The convolution over the channels as a product of windows and weights: for one
    # filter of three weights a convolution call costs more than its arithmetic.
    windows = F.pad(means, (1, 1)).unfold(1, 3, 1)
    return (windows @ weight.to(means.dtype).flatten()).softmax(1)


def _rate_of_importance(
    x: Tensor, means: Tensor, importance: Tensor, max_rate: float, sync: bool
) -> Tensor:
    # Row sums of the covariance of x * f are f * (Xc (Xc' f)) / N: the re-weighted
    # features are never formed.
    factors = (1 + importance).unsqueeze(2)
    deviation = x - means.unsqueeze(2)
    sums = factors * (deviation @ (deviation.transpose(1, 2) @ factors)) / x.size(-1)
    noise = _noise(means)
    return rate_from_row_sums(sums.squeeze(2), noise, importance, max_rate, sync)

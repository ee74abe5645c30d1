"""Adaptive channel dropout, the pre-normalisation of DropCov."""

import torch
from torch import Tensor, nn

from .covariance import flatten_positions
from .dispatch import compiling, needs_plain
from .drop_rate import importance_of_means, keep_factors, rate_of_reweighted
from .fused_covariance import covariance_vector
from .fused_dropout import dropped_covariance_vector
from .precision import full_precision

REWEIGHT = ('train', 'always')


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
        self._check(x)
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

    def covariance_vector(self, x: Tensor, path: str = 'auto') -> Tensor:
        """Upper triangle of the covariance of the output, ``(B, C * (C + 1) / 2)``.

        In training this is one function with a gradient written by hand. It draws the
        same channels as :meth:`forward`.

        Args:
            x: Features ``(B, C, H, W)`` or ``(B, C, N)``.
            path: ``'auto'``, or ``'plain'`` for separate operations.

        Raises:
            ValueError: ``x`` does not have ``channels`` channels.
        """
        self._check(x)
        if not self.training or path == 'plain' or compiling() or needs_plain(x):
            return covariance_vector(self(x), path)
        return dropped_covariance_vector(
            flatten_positions(x), self.importance.weight, self.max_rate, self.sync_rate
        )

    def _check(self, x: Tensor) -> None:
        if x.size(1) != self.channels:
            raise ValueError(f'expected {self.channels} channels, got {x.size(1)}')

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return (
            f'{self.channels}, sync_rate={self.sync_rate}, max_rate={self.max_rate}, '
            f'reweight={self.reweight!r}'
        )


@full_precision
def _importance(x: Tensor, weight: Tensor) -> Tensor:
    return importance_of_means(x.mean(2), weight)


@full_precision
def _rate(x: Tensor, weight: Tensor, max_rate: float, sync: bool) -> Tensor:
    with torch.no_grad():
        means = x.mean(2)
        importance = importance_of_means(means, weight)
        deviation = x - means.unsqueeze(2)
        return rate_of_reweighted(deviation, means, importance, max_rate, sync)


@full_precision
def _training_factors(x: Tensor, weight: Tensor, max_rate: float, sync: bool) -> Tensor:
    """One plus the importance where a channel is kept, rescaled; else 0: ``(B, C)``."""
    means = x.mean(2)
    importance = importance_of_means(means, weight)
    with torch.no_grad():
        deviation = x - means.unsqueeze(2)
        rate = rate_of_reweighted(deviation, means, importance, max_rate, sync)
        keep = keep_factors(rate, *importance.shape)
    return (1 + importance) * keep

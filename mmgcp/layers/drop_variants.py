"""Other ways of dropping that DropCov was compared with.

All are the identity at inference. Those on channels take features ``(B, C, H, W)``;
those on elements take covariance vectors ``(B, K)``, have ``on_vector = True`` and do
not rescale what is left, as in the published comparison.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .drop_rate import keep_factors

ATTENTIONS = ('eca', 'se')


def every_nth(size: int, interval: int, device: torch.device) -> Tensor:
    """Mask ``(size,)`` that keeps one entry, then drops ``interval``, and so on.

    The first kept entry is drawn from the first ``interval + 1``.
    """
    offset = torch.randint(interval + 1, (1,), device=device)
    return (torch.arange(size, device=device) + offset) % (interval + 1) == 0


def _positive_interval(interval: int) -> int:
    if interval < 1:
        raise ValueError(f'interval must be at least 1, got {interval}')
    return interval


def _fraction(keep: float) -> float:
    if not 0 < keep <= 1:
        raise ValueError(f'keep must be within (0, 1], got {keep}')
    return keep


def ranks(scores: Tensor) -> Tensor:
    """Rank of every entry of ``(B, K)`` in its row, 0 for the largest."""
    order = scores.argsort(dim=1, descending=True)
    places = torch.arange(scores.size(1), device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


class FixedChannelDropout(nn.Module):
    """Drop channels per sample at a fixed rate and rescale the rest.

    Args:
        rate: Probability of dropping a channel.
    """

    on_vector = False

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f'rate must be within [0, 1], got {rate}')
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        if not self.training:
            return x
        rate = torch.full((), self.rate, device=x.device)
        factors = keep_factors(rate, x.size(0), x.size(1)).to(x.dtype)
        return x * factors.view(x.shape[:2] + (1,) * (x.dim() - 2))

    def extra_repr(self) -> str:
        """Show the rate when the module is printed."""
        return f'rate={self.rate}'


class UniformChannelDropout(nn.Module):
    """Keep one channel out of ``interval + 1``, from a random offset.

    Args:
        interval: Number of channels dropped after each kept one.
    """

    on_vector = False

    def __init__(self, interval: int = 1) -> None:
        super().__init__()
        self.interval = _positive_interval(interval)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        if not self.training:
            return x
        mask = every_nth(x.size(1), self.interval, x.device)
        return x * mask.view((1, -1) + (1,) * (x.dim() - 2))

    def extra_repr(self) -> str:
        """Show the interval when the module is printed."""
        return f'interval={self.interval}'


class AttentionChannelDropout(nn.Module):
    """Keep the channels an attention ranks first and weight them with it.

    Args:
        channels: Number of channels.
        attention: ``'eca'`` (convolution over the channel means) or ``'se'``
            (two linear layers), both with a sigmoid.
        keep: Fraction of the channels that stays, the highest weights.
        interval: If given, keep every ``interval + 1``-th of the ranking instead.
        reduction: Reduction of the hidden layer of ``'se'``.

    Raises:
        ValueError: An argument is out of range.
    """

    on_vector = False

    def __init__(
        self,
        channels: int,
        attention: str = 'eca',
        keep: float = 0.5,
        interval: int | None = None,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ValueError(f'attention must be one of {ATTENTIONS}: {attention!r}')
        self.keep = _fraction(keep)
        self.interval = None if interval is None else _positive_interval(interval)
        self.attention = attention
        if attention == 'eca':
            self.importance: nn.Module = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        else:
            hidden = max(channels // reduction, 1)
            self.importance = nn.Sequential(
                nn.Linear(channels, hidden, bias=False),
                nn.ReLU(inplace=True),
                nn.Linear(hidden, channels, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        if not self.training:
            return x
        means = x.flatten(2).mean(2)
        if self.attention == 'eca':
            weights = self.importance(means.unsqueeze(1)).squeeze(1).sigmoid()
        else:
            weights = self.importance(means).sigmoid()
        rank = ranks(weights.detach())
        if self.interval is None:
            mask = rank < max(round(self.keep * x.size(1)), 1)
        else:
            mask = rank % (self.interval + 1) == 0
        return x * (weights * mask).view(x.shape[:2] + (1,) * (x.dim() - 2))

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return (
            f'attention={self.attention!r}, keep={self.keep}, interval={self.interval}'
        )


class ElementDropout(nn.Module):
    """Drop entries of the covariance vector.

    Args:
        mode: ``'random'`` (independent, rescaled, like :class:`torch.nn.Dropout`),
            ``'largest'`` (keep the largest fraction), ``'uniform'`` (keep one entry of
            ``interval + 1`` from a random offset) or ``'ranked'`` (keep every
            ``interval + 1``-th entry in order of value).
        keep: Fraction kept by ``'random'`` and ``'largest'``.
        interval: Number of entries dropped after each kept one by the other two.

    Raises:
        ValueError: An argument is out of range.
    """

    MODES = ('random', 'largest', 'uniform', 'ranked')
    on_vector = True

    def __init__(
        self, mode: str = 'random', keep: float = 0.5, interval: int = 1
    ) -> None:
        super().__init__()
        if mode not in self.MODES:
            raise ValueError(f'mode must be one of {self.MODES}, got {mode!r}')
        self.mode = mode
        self.keep, self.interval = _fraction(keep), _positive_interval(interval)

    def forward(self, vector: Tensor) -> Tensor:
        """Map ``(B, K)`` to ``(B, K)``."""
        if not self.training:
            return vector
        if self.mode == 'random':
            return F.dropout(vector, 1 - self.keep)
        if self.mode == 'uniform':
            return vector * every_nth(vector.size(1), self.interval, vector.device)
        rank = ranks(vector.detach())
        if self.mode == 'ranked':
            return vector * (rank % (self.interval + 1) == 0)
        return vector * (rank < max(round(self.keep * vector.size(1)), 1))

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return f'mode={self.mode!r}, keep={self.keep}, interval={self.interval}'

"""Covariance of the channels of a feature map, and what a normalization of it is."""

import torch
from torch import Tensor, nn

from .autograd import full_precision, needs_plain, own_gradient
from .triangle import triangle, triangle_gradient


class CovarianceNormalization(nn.Module):
    """Base class of every normalization of the covariance.

    A pooling head calls :meth:`from_features` alone. A subclass defines
    :meth:`forward`, and overrides the other where the features offer a faster way.
    """

    def forward(self, matrix: Tensor) -> Tensor:
        """Map covariances ``(B, C, C)`` to ``(B, C, C)``."""
        raise NotImplementedError

    def from_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return triangle(self(covariance(x)))

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        own = {k: v for k, v in vars(self).items() if isinstance(v, int | float)}
        return ', '.join(f'{k}={v}' for k, v in own.items() if k != 'training')


def flatten_positions(x: Tensor) -> Tensor:
    """Bring a map ``(B, C, H, W)`` or ``(B, C, N)``, nothing else, to ``(B, C, N)``."""
    if x.dim() == 4:
        return x.flatten(2)
    if x.dim() == 3:
        return x
    raise ValueError(
        f'expected features of shape (B, C, H, W) or (B, C, N), got {tuple(x.shape)}'
    )


def center(x: Tensor) -> Tensor:
    """Subtract from every channel its mean over the positions (last dimension)."""
    # Subtracting keeps seven digits at any offset. The centering matrix and
    # E[xx'] - mm' lose them as the mean grows beyond the deviation.
    return x - x.mean(dim=-1, keepdim=True)


@full_precision
def covariance(x: Tensor) -> Tensor:
    """Covariance of the channels, ``(1/N) Xc Xc'`` with centered positions.

    The factor is ``1/N`` as in the published networks, not ``1/(N - 1)``.

    Args:
        x: Features ``(B, C, H, W)`` or ``(B, C, N)``.

    Returns:
        Covariances ``(B, C, C)``, zero for a map of one position.

    Raises:
        ValueError: ``x`` has neither three nor four dimensions.

    Li et al., "Is second-order information helpful for large-scale visual
    recognition?", ICCV 2017.
    """
    x = center(flatten_positions(x))
    return torch.bmm(x / x.size(-1), x.transpose(1, 2))


def _plain_vector(x: Tensor) -> Tensor:
    return triangle(covariance(x))


class _CovarianceVector(torch.autograd.Function):
    """One product forward and one backward."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        ctx.arguments = ()
        xc = center(x)
        return triangle(torch.bmm(xc, xc.transpose(1, 2))).div_(x.size(2))

    @staticmethod
    @own_gradient(_plain_vector)
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        # (G + G') Xc sums to zero over the positions: no second centering.
        sums = triangle_gradient(grad, x.size(1))
        return torch.bmm(sums, center(x)).div_(x.size(2))


@full_precision
def covariance_vector(x: Tensor) -> Tensor:
    """``triangle(covariance(x))``, ``(B, C * (C + 1) / 2)``, with less work and memory."""
    x = flatten_positions(x)
    return _plain_vector(x) if needs_plain(x) else _CovarianceVector.apply(x)


@full_precision
def multi_head_cross_covariance(
    query: Tensor, key: Tensor, center: str = 'channel'
) -> Tensor:
    """Cross-covariance of two projections of the tokens, head by head (MGCrP).

    Args:
        query: First projection ``(B, heads, N, d)``.
        key: Second projection ``(B, heads, N, e)``.
        center: What is subtracted. ``'channel'``: the mean of every channel over the
            tokens, which makes the result a cross-covariance. ``'scalar'``: one number
            per sample and head, the mean over tokens *and* channels. The released
            So-ViT and DropCov code does this, so its weights need it.

    Returns:
        Cross-covariances ``(B, heads, d, e)``.

    Raises:
        ValueError: An unknown ``center``, or shapes that do not match.

    Xie et al., "So-ViT: mind visual tokens for vision transformer", 2021; Wang et
    al., "DropCov: a simple yet effective method for improving deep architectures",
    NeurIPS 2022.
    """
    if center not in ('channel', 'scalar'):
        raise ValueError(f"center must be 'channel' or 'scalar', got {center!r}")
    if query.dim() != 4 or query.shape[:3] != key.shape[:3]:
        raise ValueError(
            'query and key must be (B, heads, N, d) with the same B, heads and N, '
            f'got {tuple(query.shape)} and {tuple(key.shape)}'
        )
    dims = (2,) if center == 'channel' else (2, 3)
    query = query - query.mean(dim=dims, keepdim=True)
    key = key - key.mean(dim=dims, keepdim=True)
    return (query / query.size(2)).transpose(2, 3) @ key

"""Covariance of the channels of a feature map over its positions."""

import torch
from torch import Tensor, nn

from .precision import full_precision


def flatten_positions(x: Tensor) -> Tensor:
    """Bring a feature map ``(B, C, H, W)`` or ``(B, C, N)`` to ``(B, C, N)``.

    Raises:
        ValueError: The input has neither three nor four dimensions.
    """
    if x.dim() == 4:
        return x.flatten(2)
    if x.dim() == 3:
        return x
    raise ValueError(
        f'expected features of shape (B, C, H, W) or (B, C, N), got {tuple(x.shape)}'
    )


def centre(x: Tensor) -> Tensor:
    """Subtract from every channel its mean over the positions (last dimension)."""
    # Subtracting keeps seven digits at any offset; the centring matrix and
    # E[xx'] - mm' lose them as the mean grows beyond the deviation.
    return x - x.mean(dim=-1, keepdim=True)


@full_precision
def covariance(x: Tensor) -> Tensor:
    """Covariance of the channels, ``(1/N) Xc Xc'`` with centred positions.

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
    x = centre(flatten_positions(x))
    # Scaling the factor costs C * N multiplications; scaling the product, C * C,
    # and it keeps float16-sized products apart from their sum of N terms.
    return torch.bmm(x / x.size(-1), x.transpose(1, 2))


@full_precision
def cross_covariance(x: Tensor, y: Tensor) -> Tensor:
    """Cross-covariance of two sets of channels over the same positions.

    Args:
        x: Features ``(B, C, H, W)`` or ``(B, C, N)``.
        y: Features ``(B, D, H, W)`` or ``(B, D, N)``.

    Returns:
        Cross-covariances ``(B, C, D)``.

    Raises:
        ValueError: The number of positions or of samples differs.
    """
    x, y = flatten_positions(x), flatten_positions(y)
    if x.size(0) != y.size(0) or x.size(-1) != y.size(-1):
        raise ValueError(
            'cross-covariance needs the same samples and positions, got '
            f'{tuple(x.shape)} and {tuple(y.shape)}'
        )
    return torch.bmm(centre(x) / x.size(-1), centre(y).transpose(1, 2))


class Covariance(nn.Module):
    """Module form of :func:`covariance`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` to covariances ``(B, C, C)``."""
        return covariance(x)


class CrossCovariance(nn.Module):
    """Module form of :func:`cross_covariance`."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map two feature maps to cross-covariances ``(B, C, D)``."""
        return cross_covariance(x, y)

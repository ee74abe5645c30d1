"""Normalizations without a matrix function: entry by entry, by row, and svPN."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autograd import full_precision
from .covariance import CovarianceNormalization


@full_precision
def elementwise_power(x: Tensor, alpha: float = 0.5, eps: float = 1e-8) -> Tensor:
    """Signed power of every entry, then division by the Euclidean norm of the sample.

    ``sign(x) * (abs(x) + eps) ** alpha``: ``eps`` is inside the power, as in the
    published code, so an entry of 0 stays 0 and has a zero gradient.

    Args:
        x: Matrices ``(B, C, D)``.
        alpha: Exponent.
        eps: Added to the magnitude.

    Returns:
        Same shape as ``x``.

    Lin et al., "Bilinear CNN models for fine-grained visual recognition", ICCV 2015.
    """
    x = torch.sign(x) * (x.abs() + eps) ** alpha
    return F.normalize(x.flatten(1), dim=1).view_as(x)


class ElementwisePower(CovarianceNormalization):
    """Module form of :func:`elementwise_power`, with its arguments."""

    def __init__(self, alpha: float = 0.5, eps: float = 1e-8) -> None:
        super().__init__()
        self.alpha, self.eps = alpha, eps

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, D)`` to ``(B, C, D)``."""
        return elementwise_power(matrix, self.alpha, self.eps)


class ScaleNorm(CovarianceNormalization):
    """Multiplication by ``1 / sqrt(channels)``, fixed or learnable.

    Args:
        channels: Number of rows of the matrices to come.
        learnable: Make the factor a parameter that starts at this value.

    The two scalings So-ViT compares (``sqrt_d`` and ``sqrt_t``).
    """

    def __init__(self, channels: int, learnable: bool = False) -> None:
        super().__init__()
        scale = torch.tensor(channels**-0.5)
        if learnable:
            self.scale = nn.Parameter(scale)
        else:
            self.register_buffer('scale', scale, persistent=False)

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, D)`` to ``(B, C, D)``."""
        return matrix * self.scale.to(matrix.dtype)


class CovarianceLayerNorm(CovarianceNormalization, nn.LayerNorm):
    """Layer normalization of every row, in float32.

    Args:
        channels: Length of a row (number of columns).
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        nn.LayerNorm.__init__(self, channels, eps=eps)

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, D)`` to ``(B, C, D)``."""
        return _layer_norm(
            matrix, self.normalized_shape, self.weight, self.bias, self.eps
        )


_layer_norm = full_precision(F.layer_norm)


def _leading(x: Tensor, start: Tensor, iterations: int):
    """Leading singular value ``(B, 1, 1)`` and its rank-one matrix by power iteration.

    Samples that are all zero get the value 1 and a zero matrix, both constant:
    normalizing their zero vectors would multiply gradients by 1/eps each time.
    """
    alive = x.abs().amax(dim=(1, 2), keepdim=True) > 0
    safe = torch.where(alive, x, torch.ones_like(x))
    right = start.expand(x.size(0), x.size(2)).unsqueeze(2)
    for _ in range(iterations):
        left = F.normalize(safe @ right, dim=1)
        right = F.normalize(safe.transpose(1, 2) @ left, dim=1)
    value = left.transpose(1, 2) @ safe @ right
    # A start vector orthogonal to the rows gives 0, where sqrt has no derivative.
    value = value.clamp_min(torch.finfo(x.dtype).tiny ** 0.5)
    unit = left @ right.transpose(1, 2) * alive
    return torch.where(alive, value, torch.ones_like(value)), unit


@full_precision
def svpn(
    x: Tensor,
    start: Tensor,
    alpha: float = 0.5,
    iterations: int = 1,
    values: int = 1,
) -> Tensor:
    """Raise the ``values`` largest singular values to ``alpha``, scale the rest.

    Each triple ``s u v'`` comes from ``iterations`` steps of power iteration and is
    deflated. What is left is divided by ``s_last ** (1 - alpha) + 1e-5``.

    Args:
        x: Matrices ``(B, C, D)``.
        start: First right vector ``(D,)``.
        alpha: Exponent.
        iterations: Power iterations per singular value.
        values: How many singular values are treated one by one.

    Returns:
        Normalized matrices ``(B, C, D)``.

    Xie et al., "So-ViT: mind visual tokens for vision transformer", 2021.
    """
    total = torch.zeros_like(x)
    for _ in range(values):
        value, unit = _leading(x, start, iterations)
        total = total + value**alpha * unit
        x = x - value * unit
    return total + x / (value ** (1 - alpha) + 1e-5)


class SVPN(CovarianceNormalization):
    """Module form of :func:`svpn`, with its arguments.

    Args:
        channels: Number of columns of the matrices to come.
        learnable: Learn the start vector; otherwise it is all ones.

    Raises:
        ValueError: ``iterations`` or ``values`` is below 1.
    """

    def __init__(
        self,
        channels: int,
        alpha: float = 0.5,
        iterations: int = 1,
        values: int = 1,
        learnable: bool = True,
    ) -> None:
        super().__init__()
        if iterations < 1 or values < 1:
            raise ValueError(
                f'iterations ({iterations}) and values ({values}) must be at least 1'
            )
        self.alpha, self.iterations, self.values = alpha, iterations, values
        if learnable:
            self.start = nn.Parameter(torch.randn(channels))
        else:
            self.register_buffer('start', torch.ones(channels), persistent=False)

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, D)`` to ``(B, C, D)``."""
        return svpn(matrix, self.start, self.alpha, self.iterations, self.values)

"""Normalizations that work entry by entry or row by row."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autograd import full_precision
from .covariance import CovarianceNormalization


@full_precision
def elementwise_power(
    x: Tensor, alpha: float = 0.5, eps: float = 1e-8, l2: bool = True
) -> Tensor:
    """Signed power of every entry, then division by the norm of the sample.

    ``sign(x) * (abs(x) + eps) ** alpha``: ``eps`` is inside the power, as in the
    published code, so an entry of 0 stays 0 and has a zero gradient.

    Args:
        x: Matrices ``(B, C, D)``.
        alpha: Exponent.
        eps: Added to the magnitude.
        l2: Divide every sample by its Euclidean norm over all its entries.

    Returns:
        Same shape as ``x``.

    Lin et al., "Bilinear CNN models for fine-grained visual recognition", ICCV 2015.
    """
    x = torch.sign(x) * (x.abs() + eps) ** alpha
    if l2:
        x = F.normalize(x.flatten(1), dim=1).view_as(x)
    return x


class ElementwisePower(CovarianceNormalization):
    """Module form of :func:`elementwise_power`, with its arguments."""

    def __init__(self, alpha: float = 0.5, eps: float = 1e-8, l2: bool = True) -> None:
        super().__init__()
        self.alpha, self.eps, self.l2 = alpha, eps, l2

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, D)`` to ``(B, C, D)``."""
        return elementwise_power(matrix, self.alpha, self.eps, self.l2)


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

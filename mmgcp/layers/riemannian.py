"""Classifiers on manifolds of covariances, as normalizations in front of a linear one.

A linear classifier of ``f(S)`` is multinomial logistic regression (MLR) on symmetric
positive definite matrices ``S``: in the tangent space at the identity (TMLR), or with
the Euclidean metric pulled back by a power (EMLR). The power is the square root.

Chen et al., "Understanding matrix function normalizations in covariance pooling
through the lens of Riemannian geometry", ICLR 2025.
"""

import torch
from torch import Tensor

from .autograd import full_precision
from .covariance import CovarianceNormalization, covariance
from .newton_schulz import NewtonSchulz
from .triangle import check_square, triangle


class ScalePowEMLR(NewtonSchulz):
    """``2 sqrt(S)``, the root by Newton-Schulz steps.

    Raises:
        ValueError: ``iterations`` is below 1.
    """

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return 2 * super().forward(matrix)

    def from_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return 2 * super().from_features(x)


class PowTMLR(NewtonSchulz):
    """``2 (sqrt(S) - I)``, the root by Newton-Schulz steps.

    Raises:
        ValueError: ``iterations`` is below 1.
    """

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return 2 * (super().forward(matrix) - _identity(matrix))

    def from_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return 2 * (super().from_features(x) - triangle(_identity(x)))


def _identity(like: Tensor) -> Tensor:
    """``(1, C, C)`` for ``like`` of ``C`` channels, made on its device."""
    return torch.eye(like.size(1), device=like.device).to(like.dtype).unsqueeze(0)


@full_precision
def log_cholesky(matrix: Tensor, eps: float = 1e-6) -> Tensor:
    """Tangent vector at the identity of the log-Cholesky metric.

    With ``L`` the Cholesky factor of ``S + eps I``, entries below the diagonal are
    those of ``L``, entries above mirror them, and the diagonal is ``2 log(L_ii)``.
    The factor is computed in float64, since ``eps`` is below the rounding of float32.

    Args:
        matrix: Covariances ``(B, C, C)``; only the symmetric part counts.
        eps: Added to the diagonal, beside the rounding error of ``matrix``.

    Returns:
        Matrices ``(B, C, C)``; a zero matrix gives ``log(eps) I``.

    Raises:
        ValueError: The matrices are not square, or ``eps`` is not positive.
        torch.linalg.LinAlgError: A matrix has negative eigenvalues, or no finite ones.
    """
    check_square(matrix)
    if eps <= 0:
        raise ValueError(f'eps must be positive, got {eps}')
    double, size = matrix.double(), matrix.size(1)
    double = (double + double.transpose(1, 2)) / 2
    # Zero eigenvalues of a covariance come out of float32 as far below zero as this.
    trace = double.detach().diagonal(dim1=1, dim2=2).sum(1)
    shift = eps + size * torch.finfo(matrix.dtype).eps * trace
    shifted = double + torch.diag_embed(shift.unsqueeze(1).expand(-1, size))
    factor = torch.linalg.cholesky(shifted)
    lower = factor.tril(-1)
    logarithms = 2 * factor.diagonal(dim1=1, dim2=2).log()
    out = lower + lower.transpose(1, 2) + torch.diag_embed(logarithms)
    return out.to(matrix.dtype)


@full_precision
def _log_cholesky_features(x: Tensor, eps: float) -> Tensor:
    return triangle(log_cholesky(covariance(x.double()), eps)).to(x.dtype)


class CholTMLR(CovarianceNormalization):
    """Module form of :func:`log_cholesky`, with its arguments.

    Features are widened before their covariance, which leaves ``eps`` as it is.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return log_cholesky(matrix, self.eps)

    def from_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return _log_cholesky_features(x, self.eps)

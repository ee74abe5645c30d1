"""Exact functions of covariances by eigendecomposition: power (MPN-COV), logarithm.

The derivative is the Daleckii-Krein formula, ``U (K * (U' G U)) U'`` with the divided
differences ``K`` of the scalar function, ``(f(a) - f(b)) / (a - b)``. Unlike the
derivative of the eigenvectors it is finite when eigenvalues coincide, which those of
rank-deficient covariances do. No divided difference is computed as a difference, so
close eigenvalues cost no digits.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .autograd import full_precision, own_gradient, recording
from .covariance import CovarianceNormalization
from .triangle import check_square


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.transpose(1, 2)) / 2


def _compose(vectors: Tensor, scalars: Tensor) -> Tensor:
    return (vectors * scalars.unsqueeze(1)) @ vectors.transpose(1, 2)


def _sandwich(kernel: Tensor, vectors: Tensor, grad: Tensor) -> Tensor:
    inner = kernel * (vectors.transpose(1, 2) @ _symmetric(grad) @ vectors)
    return vectors @ inner @ vectors.transpose(1, 2)


class _MatrixFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix, scalar, kernel):
        values, vectors = torch.linalg.eigh(_symmetric(matrix))
        ctx.kernel = kernel
        ctx.save_for_backward(values, vectors)
        return _compose(vectors, scalar(values))

    @staticmethod
    @own_gradient()
    def backward(ctx, grad):
        values, vectors = ctx.saved_tensors
        return _sandwich(ctx.kernel(values), vectors, grad), None, None


def _matrix_function(
    matrix: Tensor,
    scalar: Callable[[Tensor], Tensor],
    kernel: Callable[[Tensor], Tensor],
) -> Tensor:
    """``U diag(scalar(t)) U'`` with the first derivative that ``kernel`` gives."""
    if not recording():
        return _MatrixFunction.apply(matrix, scalar, kernel)
    # The derivative is applied to the matrix minus itself without gradient: zero in
    # value, the Daleckii-Krein formula when differentiated.
    constant = matrix.detach()
    values, vectors = torch.linalg.eigh(_symmetric(constant))
    change = _sandwich(kernel(values), vectors, matrix - constant)
    return _compose(vectors, scalar(values)) + change


def _kept(values: Tensor, size: int) -> Tensor:
    """Which eigenvalues ``(B, n)`` (ascending) are more than rounding noise.

    The bound ``size * eps * largest`` is the usual one for a numerical rank.
    """
    info = torch.finfo(values.dtype)
    # An all-zero matrix has the bound zero: the second condition drops its noise.
    return (values > size * info.eps * values[:, -1:]) & (values > info.tiny)


def _powers(values: Tensor, alpha: float, size: int) -> Tensor:
    """``t ** alpha`` of the kept eigenvalues ``(B, n)``, 0 for the others."""
    kept = _kept(values, size)
    safe = torch.where(kept, values, 1.0)
    return torch.where(kept, safe**alpha, 0.0)


def _power_kernel(values: Tensor, alpha: float, size: int) -> Tensor:
    """Divided differences ``(B, n, n)`` of :func:`_powers`.

    A pair of a kept value ``a`` and a dropped one gives ``a ** alpha / a``; only
    pairs of two dropped values give 0.
    """
    kept = _kept(values, size)
    both = kept.unsqueeze(2) & kept.unsqueeze(1)
    safe = torch.where(kept, values, 1.0)
    single = torch.where(kept, safe ** (alpha - 1), 0.0)
    # Exactly one of the two terms of a mixed pair is not zero.
    mixed = single.unsqueeze(2) + single.unsqueeze(1)
    # (a^p - b^p) / (a - b) with hyperbolic sines of half the log-ratio: an even,
    # smooth function of it.
    total, half = _log_sum_and_half_difference(safe)
    ratio = torch.sinh(alpha * half) / torch.sinh(half)
    ratio = torch.where(half == 0, alpha, ratio)
    return torch.where(both, torch.exp((alpha - 1) / 2 * total) * ratio, mixed)


def _log_sum_and_half_difference(values: Tensor) -> tuple[Tensor, Tensor]:
    """``log a + log b`` and ``(log a - log b) / 2`` of every pair, ``(B, n, n)``."""
    row, column = values.log().unsqueeze(2), values.log().unsqueeze(1)
    return row + column, (row - column) / 2


@full_precision
def matrix_power(matrix: Tensor, alpha: float = 0.5) -> Tensor:
    """Exact power ``U diag(t ** alpha) U'`` of symmetric positive semi-definite input.

    Eigenvalues at the level of rounding count as 0, and ``0 ** alpha`` as 0. There
    are first derivatives only.

    Args:
        matrix: Covariances ``(B, C, C)``; only the symmetric part counts.
        alpha: Exponent.

    Returns:
        Powers ``(B, C, C)``.

    Raises:
        ValueError: The matrices are not square.

    Li et al., "Is second-order information helpful for large-scale visual
    recognition?", ICCV 2017.
    """
    check_square(matrix)
    size = matrix.size(1)
    return _matrix_function(
        matrix,
        lambda values: _powers(values, alpha, size),
        lambda values: _power_kernel(values, alpha, size),
    )


class MatrixPower(CovarianceNormalization):
    """Module form of :func:`matrix_power`, with its arguments."""

    def __init__(self, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return matrix_power(matrix, self.alpha)


@full_precision
def matrix_logarithm(matrix: Tensor, eps: float = 1e-5) -> Tensor:
    """Regularized matrix logarithm ``log(M + eps I) - log(eps) I``.

    The plain logarithm has no value at the zero eigenvalues that a covariance of few
    positions always has. Adding ``eps`` is the usual remedy. Subtracting the constant
    ``log(eps)`` from the diagonal, which the bias of the next layer absorbs, maps the
    zero matrix to zero. There are first derivatives only.

    Args:
        matrix: Covariances ``(B, C, C)``; only the symmetric part counts.
        eps: Added to every eigenvalue.

    Returns:
        Logarithms ``(B, C, C)``.

    Raises:
        ValueError: The matrices are not square, or ``eps`` is not positive.

    Arsigny et al., "Log-Euclidean metrics for fast and simple calculus on diffusion
    tensors", 2006; Carreira et al., "Semantic segmentation with second-order
    pooling", ECCV 2012.
    """
    check_square(matrix)
    if eps <= 0:
        raise ValueError(f'eps must be positive, got {eps}')

    def kernel(values):
        total, half = _log_sum_and_half_difference(values.clamp_min(0) + eps)
        ratio = torch.where(half == 0, 1.0, half / torch.sinh(half))
        return torch.exp(-total / 2) * ratio

    # Rounding below 0 counts as 0.
    return _matrix_function(
        matrix, lambda values: torch.log1p(values.clamp_min(0) / eps), kernel
    )


class MatrixLogarithm(CovarianceNormalization):
    """Module form of :func:`matrix_logarithm`, with its arguments."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return matrix_logarithm(matrix, self.eps)

"""Exact functions of symmetric matrices by eigendecomposition.

The derivative is the Daleckii-Krein formula, ``U (K * (U' G U)) U'`` with the divided
differences ``K`` of the scalar function. Unlike differentiating the eigenvectors it
is finite when eigenvalues coincide, which those of rank-deficient covariances do.
"""

import torch
from torch import Tensor, nn

from .dispatch import compiling, needs_plain
from .eigenvalues import kept, logarithm_kernel, logarithms, power_kernel, powers
from .precision import full_precision, full_precision_backward


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.transpose(1, 2)) / 2


def _compose(vectors: Tensor, scalars: Tensor) -> Tensor:
    return (vectors * scalars.unsqueeze(1)) @ vectors.transpose(1, 2)


def _sandwich(kernel: Tensor, vectors: Tensor, grad: Tensor) -> Tensor:
    inner = kernel * (vectors.transpose(1, 2) @ _symmetric(grad) @ vectors)
    return vectors @ inner @ vectors.transpose(1, 2)


class _Sylvester(torch.autograd.Function):
    """Solve ``S X + X S = G`` for the root ``S`` of a matrix with given eigenvalues.

    Where ``S`` has no inverse, ``X`` is 0 between null vectors. The derivative with
    respect to ``S`` is for changes that keep the rank, as changes of features do.
    """

    @staticmethod
    def forward(ctx, root, grad, values, vectors):
        out = _sandwich(power_kernel(values, 0.5, values.size(1)), vectors, grad)
        ctx.save_for_backward(root, grad, out, values, vectors)
        return out

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        root, right, out, values, vectors = ctx.saved_tensors
        solved = _Sylvester.apply(root, grad, values, vectors)
        # Null vectors turn with S: with them turns the zero block of X, and the
        # block of G that the equation leaves out.
        inverse = _compose(vectors, powers(values, -0.5, values.size(1)))
        null = (~kept(values, values.size(1))).to(values.dtype)
        null = _compose(vectors, null)
        turned = null @ _symmetric(grad) @ null @ out @ inverse
        turned = turned + null @ _symmetric(right) @ null @ solved @ inverse
        change = turned - solved @ out
        return change + change.transpose(1, 2), solved, None, None


class _SquareRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix):
        values, vectors = torch.linalg.eigh(_symmetric(matrix))
        root = _compose(vectors, powers(values, 0.5, values.size(1)))
        ctx.save_for_backward(root, values, vectors)
        return root

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        root, values, vectors = ctx.saved_tensors
        if compiling():
            return _sandwich(power_kernel(values, 0.5, values.size(1)), vectors, grad)
        return _Sylvester.apply(root, grad, values, vectors)


class _Spectral(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix, scalar, kernel):
        values, vectors = torch.linalg.eigh(_symmetric(matrix))
        ctx.scalar, ctx.kernel = scalar, kernel
        ctx.save_for_backward(matrix, values, vectors)
        return _compose(vectors, scalar(values))

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        matrix, values, vectors = ctx.saved_tensors
        if compiling() or not torch.is_grad_enabled():
            return _sandwich(ctx.kernel(values), vectors, grad), None, None
        out = _plain(matrix, ctx.scalar)
        return *torch.autograd.grad(out, matrix, grad, create_graph=True), None, None


def _plain(matrix: Tensor, scalar) -> Tensor:
    values, vectors = torch.linalg.eigh(_symmetric(matrix))
    return _compose(vectors, scalar(values))


def _linearised(matrix: Tensor, scalar, kernel) -> Tensor:
    """Value and first derivative in plain operations.

    The derivative is applied to the difference between the matrix and itself without
    gradient: zero in value, the Daleckii-Krein formula when differentiated.
    """
    constant = matrix.detach()
    values, vectors = torch.linalg.eigh(_symmetric(constant))
    change = _sandwich(kernel(values), vectors, matrix - constant)
    return _compose(vectors, scalar(values)) + change


def _check(matrix: Tensor) -> None:
    if matrix.dim() != 3 or matrix.size(1) != matrix.size(2):
        raise ValueError(f'expected matrices (B, C, C), got {tuple(matrix.shape)}')


@full_precision
def matrix_power(matrix: Tensor, alpha: float = 0.5) -> Tensor:
    """Exact power ``U diag(t ** alpha) U'`` of symmetric positive semi-definite input.

    Eigenvalues at the level of rounding count as 0, and ``0 ** alpha`` as 0. First
    derivatives exist everywhere below; second derivatives too for ``alpha=0.5``,
    for other exponents only where the eigenvalues are distinct.

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
    _check(matrix)
    size = matrix.size(1)

    def scalar(values):
        return powers(values, alpha, size)

    def kernel(values):
        return power_kernel(values, alpha, size)

    if needs_plain(matrix):
        return _linearised(matrix, scalar, kernel)
    if alpha == 0.5:
        return _SquareRoot.apply(matrix)
    return _Spectral.apply(matrix, scalar, kernel)


@full_precision
def matrix_logarithm(matrix: Tensor, eps: float = 1e-5) -> Tensor:
    """Regularised matrix logarithm ``log(M + eps I) - log(eps) I``.

    The plain logarithm has no value at the zero eigenvalues that a covariance of few
    positions always has. Adding ``eps`` is the usual remedy; subtracting the constant
    ``log(eps)`` from the diagonal, which the bias of the next layer absorbs, makes
    the zero matrix map to zero.

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
    _check(matrix)
    if eps <= 0:
        raise ValueError(f'eps must be positive, got {eps}')

    def scalar(values):
        return logarithms(values, eps)

    def kernel(values):
        return logarithm_kernel(values, eps)

    if needs_plain(matrix):
        return _linearised(matrix, scalar, kernel)
    return _Spectral.apply(matrix, scalar, kernel)


class MatrixLogarithm(nn.Module):
    """Module form of :func:`matrix_logarithm`.

    Args:
        eps: Added to every eigenvalue.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return matrix_logarithm(matrix, self.eps)

    def extra_repr(self) -> str:
        """Show the regularisation when the module is printed."""
        return f'eps={self.eps}'

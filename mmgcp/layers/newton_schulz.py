"""Newton-Schulz square root of covariances (iSQRT-COV)."""

import torch
from torch import Tensor, nn

from .covariance import flatten_positions
from .dispatch import PATHS, check_path, choose_path, compiling, observed
from .fused_eigen_root import GramEigenRoot
from .fused_root import CovarianceRoot, GramRoot, plain_root
from .polynomial import (
    FIVE_STEPS_FIT,
    TRACE_FLOOR,
    newton_schulz_schedule,
    plain_matrix_root,
)
from .precision import full_precision

# Positions from which a decomposition is faster than the products of the steps.
EIGEN_FROM = 96


@full_precision
def newton_schulz_sqrt(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Approximate square root by the coupled Newton-Schulz iteration.

    The matrix is divided by its trace, ``Y = A, Z = I`` become ``Y T, T Z`` with
    ``T = (3 I - Z Y) / 2``, and the last ``Y`` is multiplied by the root of the trace.
    The number of steps is part of the function and not of its accuracy: with 5 steps
    and 256 channels small eigenvalues are damped, which trained weights rely on.

    Args:
        matrix: Covariances ``(B, C, C)``.
        iterations: Number of steps. Published networks use 5.

    Returns:
        Normalised covariances ``(B, C, C)``; zero where the trace is zero.

    Raises:
        ValueError: The matrices are not square, or ``iterations`` is below 1.

    Li et al., "Towards faster training of global covariance pooling networks by
    iterative matrix square root normalization", CVPR 2018.
    """
    if matrix.dim() != 3 or matrix.size(1) != matrix.size(2):
        raise ValueError(f'expected matrices (B, C, C), got {tuple(matrix.shape)}')
    if iterations < 1:
        raise ValueError(f'iterations must be at least 1, got {iterations}')
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1).clamp_min(TRACE_FLOOR).view(-1, 1, 1)
    a = matrix / trace
    identity = torch.eye(matrix.size(1), dtype=a.dtype, device=a.device)
    z = 1.5 * identity - 0.5 * a
    y = torch.bmm(a, z)
    for step in range(1, iterations):
        t = 1.5 * identity - 0.5 * torch.bmm(z, y)
        y = torch.bmm(y, t)
        if step < iterations - 1:
            z = torch.bmm(t, z)
    return y * trace.sqrt()


@full_precision
def newton_schulz_features(
    x: Tensor, iterations: int = 5, fit: bool = False, path: str = 'auto'
) -> Tensor:
    """``triangle(newton_schulz_sqrt(covariance(x)))`` with less work and memory.

    Args:
        x: Features ``(B, C, H, W)`` or ``(B, C, N)``.
        iterations: Number of steps.
        fit: See :class:`NewtonSchulz`.
        path: See :class:`NewtonSchulz`.

    Returns:
        Vectors ``(B, C * (C + 1) / 2)``.

    Raises:
        ValueError: An argument is out of range.
    """
    x = flatten_positions(x)
    schedule = _schedule(iterations, fit)
    path = _choose_path(_check_path(path, fit), x, fit)
    if path == 'plain':
        return plain_root(x, schedule)
    if path == 'eigen':
        try:
            return GramEigenRoot.apply(x, iterations)
        except torch.linalg.LinAlgError:
            # Features that are not finite, which products hand on to the loss.
            path = 'gram'
    return (GramRoot if path == 'gram' else CovarianceRoot).apply(x, schedule)


def _schedule(iterations: int, fit: bool) -> tuple:
    if iterations < 1:
        raise ValueError(f'iterations must be at least 1, got {iterations}')
    if not fit:
        return newton_schulz_schedule(iterations)
    if iterations != 5:
        raise ValueError(f'fit=True reproduces 5 iterations, not {iterations}')
    return FIVE_STEPS_FIT


def _check_path(path: str, fit: bool) -> str:
    if path != 'eigen':
        return check_path(path, (*PATHS, 'eigen'))
    if fit:
        raise ValueError("path='eigen' takes the exact steps: it has no fit=True")
    return path


def _choose_path(path: str, x: Tensor, fit: bool) -> str:
    """Resolve ``'auto'``; the decomposition in place of many products of some size."""
    if path != 'auto':
        return path
    chosen = choose_path(path, x)
    if chosen != 'gram' or fit or x.size(2) < EIGEN_FROM:
        return chosen
    # Elsewhere decompositions are slow, and counters of operations look for products.
    decomposes = x.device.type == 'cpu' and not compiling() and not observed()
    return 'eigen' if decomposes else chosen


@full_precision
def _matrix_fit(matrix: Tensor) -> Tensor:
    return plain_matrix_root(matrix, FIVE_STEPS_FIT)


class NewtonSchulz(nn.Module):
    """Newton-Schulz root of covariances, or of the covariance of features.

    Args:
        iterations: Number of steps.
        fit: Use two fitted factors in place of the five steps (only for
            ``iterations=5``): 7 products forward in place of 10. The scalar function
            differs by less than 2e-6 times its value (times 0.02 where its
            value is below that).
        path: Where :meth:`forward_features` computes: ``'gram'`` on ``N x N``
            matrices, ``'covariance'`` on ``C x C``, ``'plain'`` in separate operations
            on ``C x C``, ``'eigen'`` on the eigenvalues of the ``N x N`` matrices.
            ``'auto'`` takes the first three as in
            :func:`mmgcp.layers.dispatch.choose_path`, and the last where it would take
            the first, on a CPU and for 96 positions or more. All give the same values
            up to rounding.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, iterations: int = 5, fit: bool = False, path: str = 'auto'
    ) -> None:
        super().__init__()
        _schedule(iterations, fit)
        self.iterations, self.fit, self.path = iterations, fit, _check_path(path, fit)

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        if self.fit:
            return _matrix_fit(matrix)
        return newton_schulz_sqrt(matrix, self.iterations)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, N)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return newton_schulz_features(x, self.iterations, self.fit, self.path)

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return f'iterations={self.iterations}, fit={self.fit}, path={self.path!r}'

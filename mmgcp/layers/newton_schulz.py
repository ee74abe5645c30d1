"""Newton-Schulz square root of covariances (iSQRT-COV)."""

import torch
from torch import Tensor, nn

from .covariance import covariance
from .precision import full_precision
from .triangle import triangle

# Smallest trace that is divided by: a covariance below it counts as zero.
TRACE_FLOOR = 1e-12


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


class NewtonSchulz(nn.Module):
    """Module form of :func:`newton_schulz_sqrt`.

    Args:
        iterations: Number of steps.
    """

    def __init__(self, iterations: int = 5) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return newton_schulz_sqrt(matrix, self.iterations)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, N)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return triangle(self(covariance(x)))

    def extra_repr(self) -> str:
        """Show the number of steps when the module is printed."""
        return f'iterations={self.iterations}'

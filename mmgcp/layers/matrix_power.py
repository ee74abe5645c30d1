"""Exact power of covariances from features (MPN-COV)."""

from torch import Tensor, nn

from .covariance import flatten_positions
from .dispatch import check_path, choose_path
from .fused_power import CovariancePower, GramPower, plain_power
from .precision import full_precision
from .spectral import matrix_power


@full_precision
def matrix_power_features(x: Tensor, alpha: float = 0.5, path: str = 'auto') -> Tensor:
    """``triangle(matrix_power(covariance(x), alpha))`` on the smaller side.

    Args:
        x: Features ``(B, C, H, W)`` or ``(B, C, N)``.
        alpha: Exponent.
        path: See :class:`MatrixPower`.

    Returns:
        Vectors ``(B, C * (C + 1) / 2)``.
    """
    x = flatten_positions(x)
    path = choose_path(path, x)
    if path == 'plain':
        return plain_power(x, alpha)
    return (GramPower if path == 'gram' else CovariancePower).apply(x, alpha)


class MatrixPower(nn.Module):
    """Exact power of covariances, or of the covariance of features.

    Args:
        alpha: Exponent.
        path: Where :meth:`forward_features` decomposes: ``'gram'`` on the ``N x N``
            side, ``'covariance'`` on the ``C x C`` side, ``'plain'`` through separate
            functions, ``'auto'`` (see :func:`mmgcp.layers.dispatch.choose_path`).
    """

    def __init__(self, alpha: float = 0.5, path: str = 'auto') -> None:
        super().__init__()
        self.alpha, self.path = alpha, check_path(path)

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return matrix_power(matrix, self.alpha)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, N)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return matrix_power_features(x, self.alpha, self.path)

    def extra_repr(self) -> str:
        """Show the arguments when the module is printed."""
        return f'alpha={self.alpha}, path={self.path!r}'

"""Upper triangle of symmetric matrices as vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

from .autograd import compiling, transforming

# Indices depend on the size alone. Computing them takes longer than the product that
# they belong to on small maps.
_KEPT: dict[tuple, Tensor] = {}


def _kept(
    make: Callable[[int, torch.device], Tensor], size: int, like: Tensor
) -> Tensor:
    """``make(size, device)``, computed once where tensors are ordinary ones."""
    recorded = compiling() or torch.jit.is_tracing()
    if recorded or transforming() or type(like) is not Tensor:
        return make(size, like.device)
    key = make.__name__, size, like.device
    if key not in _KEPT:
        # Autograd would refuse to save a tensor made in inference mode.
        with torch.inference_mode(False):
            _KEPT[key] = make(size, like.device)
    return _KEPT[key]


def _triangle_index(size: int, device: torch.device) -> Tensor:
    """Flat positions of the upper triangle of a ``size`` x ``size`` matrix."""
    if torch.jit.is_tracing():
        # ONNX has no operator for triu_indices: the numbers go into the file.
        return torch.tensor(
            [r * size + c for r in range(size) for c in range(r, size)], device=device
        )
    rows, columns = torch.triu_indices(size, size, device=device).unbind(0)
    return rows * size + columns


def check_square(matrix: Tensor) -> None:
    """Raise ValueError unless the input is matrices ``(B, C, C)``."""
    if matrix.dim() != 3 or matrix.size(1) != matrix.size(2):
        raise ValueError(f'expected matrices (B, C, C), got {tuple(matrix.shape)}')


def triangle(matrix: Tensor) -> Tensor:
    """Upper triangle with the diagonal, row by row.

    This is the order of the published classifiers, so their ``fc`` weights fit.
    Off-diagonal entries are not scaled. The published code returns ``(B, K, 1)``;
    this returns ``(B, K)``.

    Args:
        matrix: Matrices ``(B, C, C)``.

    Returns:
        Vectors ``(B, C * (C + 1) / 2)``.

    Raises:
        ValueError: The matrices are not square.
    """
    check_square(matrix)
    index = _kept(_triangle_index, int(matrix.size(1)), matrix)
    if torch.jit.is_tracing():
        return matrix.flatten(1).index_select(1, index)  # a short index in the file
    # A third faster on a CPU than index_select.
    return matrix.flatten(1).gather(1, index.expand(matrix.size(0), -1))


def _symmetric_index(size: int, device: torch.device) -> Tensor:
    """Place in the triangle vector of every entry of the symmetric matrix, flat."""
    steps = torch.arange(size, device=device)
    low = torch.minimum(steps.unsqueeze(1), steps)
    high = torch.maximum(steps.unsqueeze(1), steps)
    return (low * (2 * size - low - 1) // 2 + high).flatten()


def triangle_gradient(grad: Tensor, size: int) -> Tensor:
    """``G + G'`` for the gradient ``G`` of :func:`triangle` with respect to its input.

    One gather fills both halves; the diagonal counts twice. The gradient of the vectors
    ``(B, K)`` gives symmetric matrices ``(B, C, C)`` with ``C = size``.
    """
    index = _kept(_symmetric_index, size, grad)
    out = grad.gather(1, index.expand(grad.size(0), -1)).view(-1, size, size)
    out.diagonal(dim1=1, dim2=2).mul_(2)
    return out

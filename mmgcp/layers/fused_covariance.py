"""From features to the triangle of the covariance with one product each way."""

import torch
from torch import Tensor

from .covariance import centre, covariance, flatten_positions
from .dispatch import compiling, needs_plain
from .precision import full_precision, full_precision_backward
from .triangle import triangle, triangle_gradient


class _CovarianceVector(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        xc = centre(x)
        ctx.save_for_backward(x)
        return triangle(torch.bmm(xc, xc.transpose(1, 2))).div_(x.size(2))

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if not compiling() and torch.is_grad_enabled():
            out = triangle(covariance(x))
            return torch.autograd.grad(out, x, grad, create_graph=True)[0]
        # (G + G') Xc sums to zero over the positions: no second centring.
        sums = triangle_gradient(grad, x.size(1))
        return torch.bmm(sums, centre(x)).div_(x.size(2))


@full_precision
def covariance_vector(x: Tensor, path: str = 'auto') -> Tensor:
    """Upper triangle of the covariance, ``triangle(covariance(x))``.

    Args:
        x: Features ``(B, C, H, W)`` or ``(B, C, N)``.
        path: ``'auto'``, or ``'plain'`` for separate operations.

    Returns:
        Vectors ``(B, C * (C + 1) / 2)``.
    """
    x = flatten_positions(x)
    if path == 'plain' or needs_plain(x):
        return triangle(covariance(x))
    return _CovarianceVector.apply(x)

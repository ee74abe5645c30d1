"""From features to the exact power as a vector, decomposing the smaller side.

With ``K = Xc' Xc / N = V diag(t) V'`` and ``P = Xc V``

    (Xc Xc' / N) ** a  =  P diag(t ** (a - 1)) P' / N,

exact for any exponent since the columns of ``P`` are scaled eigenvectors of the
covariance; those of zero eigenvalues vanish. The decomposition is of ``N x N``.
"""

import torch
from torch import Tensor

from .batched_eigh import eigh
from .covariance import centre, covariance
from .dispatch import compiling
from .eigenvalues import kept, power_kernel, powers
from .precision import full_precision_backward
from .spectral import matrix_power
from .triangle import triangle, triangle_gradient


def plain_power(x: Tensor, alpha: float) -> Tensor:
    """The same function ``(B, C, N) -> (B, K)`` through the covariance."""
    return triangle(matrix_power(covariance(x), alpha))


def _inverse_kernel(values: Tensor, alpha: float, size: int) -> Tensor:
    """Divided differences of ``t ** (alpha - 1)``; 0 beside a dropped value.

    The columns of ``P`` that meet there are zero.
    """
    if alpha != 0.5:
        both = powers(values, 1.0, size) > 0
        kernel = power_kernel(values, alpha - 1, size)
        return kernel * (both.unsqueeze(2) & both.unsqueeze(1))
    # -1 / (sqrt(a b) (sqrt(a) + sqrt(b))), without a difference
    inverse = powers(values, -0.5, size)
    root = torch.where(kept(values, size), values, torch.ones_like(values)).sqrt()
    outer = inverse.unsqueeze(2) * inverse.unsqueeze(1)
    return outer.div_(root.unsqueeze(2) + root.unsqueeze(1)).neg_()


class GramPower(torch.autograd.Function):
    """Eigendecomposition of the ``N x N`` side."""

    @staticmethod
    def forward(ctx, x, alpha):
        batch, channels, n = x.shape
        xc = centre(x)
        values, vectors = eigh(torch.bmm(xc.transpose(1, 2), xc) / n)
        projected = torch.bmm(xc, vectors)
        scale = powers(values, alpha - 1, channels).div_(n)
        matrix = torch.bmm(projected * scale.unsqueeze(1), projected.transpose(1, 2))
        ctx.alpha = alpha
        ctx.save_for_backward(x, values, vectors, projected)
        return triangle(matrix)

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        x, values, vectors, projected = ctx.saved_tensors
        if not compiling() and torch.is_grad_enabled():
            out = plain_power(x, ctx.alpha)
            return torch.autograd.grad(out, x, grad, create_graph=True)[0], None
        channels, n = x.shape[1:]
        gp = torch.bmm(triangle_gradient(grad / n, channels), projected)
        inner = torch.bmm(projected.transpose(1, 2), gp)
        inner = inner * _inverse_kernel(values, ctx.alpha, channels).div_(n)
        scale = powers(values, ctx.alpha - 1, channels)
        gp = torch.baddbmm(gp * scale.unsqueeze(1), projected, inner)
        return torch.bmm(gp, vectors.transpose(1, 2)), None


class CovariancePower(torch.autograd.Function):
    """Eigendecomposition of the ``C x C`` side."""

    @staticmethod
    def forward(ctx, x, alpha):
        channels, n = x.shape[1:]
        xc = centre(x)
        values, vectors = eigh(torch.bmm(xc, xc.transpose(1, 2)) / n)
        scale = powers(values, alpha, channels)
        matrix = torch.bmm(vectors * scale.unsqueeze(1), vectors.transpose(1, 2))
        ctx.alpha = alpha
        ctx.save_for_backward(x, values, vectors)
        return triangle(matrix)

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        x, values, vectors = ctx.saved_tensors
        if not compiling() and torch.is_grad_enabled():
            out = plain_power(x, ctx.alpha)
            return torch.autograd.grad(out, x, grad, create_graph=True)[0], None
        channels, n = x.shape[1:]
        turned = torch.bmm(triangle_gradient(grad / n, channels), vectors)
        inner = torch.bmm(vectors.transpose(1, 2), turned)
        inner = inner.mul_(power_kernel(values, ctx.alpha, channels))
        # Two thin products with the features replace two of C x C by C x C.
        turned = torch.bmm(vectors.transpose(1, 2), centre(x))
        return torch.bmm(vectors, torch.bmm(inner, turned)), None

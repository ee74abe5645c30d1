"""From features to the Newton-Schulz root as a vector, with hand-written gradients.

Two sides of the same function. The covariance ``S = Xc Xc' / N`` and the Gram matrix
``K = Xc' Xc / N`` share trace ``t`` and non-zero eigenvalues, so with the polynomial
``z`` of the iteration (see :mod:`mmgcp.layers.polynomial`)

    sqrt(t) (S / t) z(S / t)  =  Xc z(K / t) Xc' / (N sqrt(t))

and the products run on the smaller of ``C x C`` and ``N x N`` matrices.
"""

import torch
from torch import Tensor

from .covariance import centre, covariance
from .dispatch import compiling
from .polynomial import (
    TRACE_FLOOR,
    accumulate,
    add_identity,
    derivative,
    evaluate,
    plain_matrix_root,
)
from .precision import full_precision_backward
from .triangle import triangle, triangle_gradient


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per sample, ``(B, 1, 1)``, without a product of the size of ``a``."""
    return torch.bmm(a.reshape(a.size(0), 1, -1), b.reshape(b.size(0), -1, 1))


def plain_root(x: Tensor, schedule: tuple) -> Tensor:
    """The same function ``(B, C, N) -> (B, K)`` in operations autograd knows."""
    return triangle(plain_matrix_root(covariance(x), schedule))


def differentiate_again(x: Tensor, grad: Tensor, schedule: tuple):
    """Gradient in operations that can be differentiated once more."""
    out = plain_root(x, schedule)
    return torch.autograd.grad(out, x, grad, create_graph=True)[0], None


def _normalise(product: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide by the trace; also the divisor ``(B, 1, 1)`` and if it is the trace."""
    trace = product.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
    floor = n * TRACE_FLOOR
    divisor = trace.clamp_min(floor)
    return product.div_(divisor), divisor, trace > floor


class GramRoot(torch.autograd.Function):
    """Products on the ``N x N`` side."""

    @staticmethod
    def forward(ctx, x, schedule):
        n = x.size(2)
        xc = centre(x)
        a, total, above = _normalise(torch.bmm(xc.transpose(1, 2), xc), n)
        z, saved = evaluate(a, schedule)
        matrix = torch.bmm(torch.bmm(xc, z), xc.transpose(1, 2))
        out = triangle(matrix).mul_((n * total).rsqrt().squeeze(2))
        ctx.schedule = schedule
        ctx.save_for_backward(x, a, z, total, above, *saved)
        return out

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        x, a, z, total, above, *saved = ctx.saved_tensors
        if not compiling() and torch.is_grad_enabled():
            return differentiate_again(x, grad, ctx.schedule)
        # Half, because the gather returns the gradient plus its transpose.
        grad = grad * ((x.size(2) * total).rsqrt() / 2).squeeze(2)
        # Centring again costs a pass over the features; keeping the centred ones
        # through the derivative would add to the peak.
        xc = centre(x)
        gx = torch.bmm(triangle_gradient(grad, x.size(1)), xc)
        dz = torch.bmm(xc.transpose(1, 2), gx)
        del xc, grad
        da = derivative(dz, ctx.schedule, saved)
        # The divisor: its root in front of the product, itself in a.
        dt = (_inner(dz, z) / 2 + _inner(da, a)) * above
        del dz
        dk = add_identity(da, -dt.squeeze(2)).mul_(2 / total)
        return accumulate(torch.bmm(gx, z), centre(x), dk, 2, 1), None


class CovarianceRoot(torch.autograd.Function):
    """Products on the ``C x C`` side."""

    @staticmethod
    def forward(ctx, x, schedule):
        n = x.size(2)
        xc = centre(x)
        a, total, above = _normalise(torch.bmm(xc, xc.transpose(1, 2)), n)
        y, saved = evaluate(a, schedule, root=True)
        out = triangle(y).mul_((total / n).sqrt().squeeze(2))
        ctx.schedule = schedule
        ctx.save_for_backward(x, a, out, total, above, *saved)
        return out

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        x, a, out, total, above, *saved = ctx.saved_tensors
        if not compiling() and torch.is_grad_enabled():
            return differentiate_again(x, grad, ctx.schedule)
        inner = (grad * out).sum(1).view(-1, 1, 1)
        grad = grad * ((total / x.size(2)).sqrt() / 2).squeeze(2)
        gy = triangle_gradient(grad, x.size(1))
        del grad
        da = derivative(gy, ctx.schedule, saved, root=True)
        del gy
        dt = (inner / 2 - _inner(da, a)) * above
        ds = add_identity(da, dt.squeeze(2)).mul_(2 / total)
        return torch.bmm(ds, centre(x)), None

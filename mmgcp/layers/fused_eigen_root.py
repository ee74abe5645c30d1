"""The Newton-Schulz root through eigenvalues: the same function in fewer operations.

A polynomial of a matrix is the polynomial of its eigenvalues. With the smaller side
``K = Xc' Xc / N = V diag(t) V'``, its trace ``s``, ``P = Xc V`` and the polynomial ``z``
of the steps (see :mod:`mmgcp.layers.fused_root`), the root is

    P diag(g) P' / N   with   g = z(t / s) / sqrt(s),

and its gradient takes the divided differences of ``g``. The steps run on ``N`` numbers
in place of matrices; nothing is inverted, so rounding of small eigenvalues costs no
digits. On a CPU a decomposition costs about a third of the twenty-four products that
it replaces.
"""

import torch
from torch import Tensor

from .batched_eigh import eigh
from .covariance import centre
from .dispatch import compiling
from .fused_root import differentiate_again
from .polynomial import TRACE_FLOOR, add_identity, newton_schulz_schedule
from .precision import full_precision_backward
from .triangle import triangle, triangle_gradient


def step_factors(values: Tensor, iterations: int) -> Tensor:
    """``z`` of Newton-Schulz steps at normalised eigenvalues ``(B, n)``."""
    p, z = values, torch.ones_like(values)
    for _ in range(iterations):
        t = 1.5 - 0.5 * p
        p, z = p * t.square(), z * t
    return z


def step_kernel(values: Tensor, iterations: int) -> Tensor:
    """Divided differences ``(B, n, n)`` of :func:`step_factors`.

    By the product rule from step to step: none is computed as a difference, so close
    eigenvalues cost no digits.
    """
    batch, n = values.shape
    p, z = values, torch.ones_like(values)
    ones = torch.ones_like(values)
    # Those of p, which starts as the identity, and of z, which starts as 1.
    of_p, of_z = values.new_ones(batch, n, n), values.new_zeros(batch, n, n)
    for step in range(iterations):
        t = 1.5 - 0.5 * p
        of_z.mul_(t.unsqueeze(1)).addcmul_(z.unsqueeze(2), of_p, value=-0.5)
        if step + 1 == iterations:
            break
        # p (3 - p)^2 / 4 at a and b: (9 - 6 (a + b) + a^2 + a b + b^2) / 4
        own = (p / 4 - 1.5) * p + 1.125
        of_p.mul_(
            torch.bmm(
                torch.stack([own, ones, p / 4], 2), torch.stack([ones, own, p], 1)
            )
        )
        p, z = p * t.square(), z * t
    return of_z


class GramEigenRoot(torch.autograd.Function):
    """Eigendecomposition of the ``N x N`` side."""

    @staticmethod
    def forward(ctx, x, iterations):
        n = x.size(2)
        xc = centre(x)
        gram = torch.bmm(xc.transpose(1, 2), xc)
        floor = n * TRACE_FLOOR
        trace = gram.diagonal(dim1=1, dim2=2).sum(1).unsqueeze(1)
        total = trace.clamp_min(floor)
        values, vectors = eigh(gram.div_(total.unsqueeze(2)))
        projected = torch.bmm(xc, vectors)
        # Xc' Xc is N times the Gram matrix, its trace as many times the trace.
        scale = step_factors(values, iterations) * (n * total).rsqrt()
        matrix = torch.bmm(projected * scale.unsqueeze(1), projected.transpose(1, 2))
        ctx.iterations = iterations
        ctx.save_for_backward(
            x, values, vectors, projected, scale, total, trace > floor
        )
        return triangle(matrix)

    @staticmethod
    @full_precision_backward
    def backward(ctx, grad):
        x, values, vectors, projected, scale, total, above = ctx.saved_tensors
        if not compiling() and torch.is_grad_enabled():
            return differentiate_again(x, grad, newton_schulz_schedule(ctx.iterations))
        gp = torch.bmm(triangle_gradient(grad, x.size(1)), projected)
        inner = torch.bmm(projected.transpose(1, 2), gp)
        # The trace divides the eigenvalues, and its root the whole.
        factor = (x.size(2) * total).rsqrt()
        kernel = step_kernel(values, ctx.iterations)
        slopes = kernel.diagonal(dim1=1, dim2=2) * factor * values + scale / 2
        to_trace = (inner.diagonal(dim1=1, dim2=2) * slopes).sum(1, keepdim=True)
        inner = inner.mul_(kernel).mul_((factor / total).unsqueeze(2))
        add_identity(inner, to_trace * above / -total)
        out = torch.baddbmm(gp.mul_(scale.unsqueeze(1)), projected, inner)
        return torch.bmm(out, vectors.transpose(1, 2)), None

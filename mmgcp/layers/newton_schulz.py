"""Newton-Schulz square root of covariances (iSQRT-COV).

Steps ``T_k = (3 I - P_k) / 2``, ``P_(k+1) = P_k T_k ** 2`` with ``P_1 = A`` give
``Z = T_1 T_2 ... T_n`` and the root ``A Z``. All of them commute. Two steps are one
factor ``q(P)`` of degree 4, which by completing the square takes two products, so five
steps cost 10 products instead of 12.

At a symmetric matrix the derivative of a polynomial is its own adjoint. The gradient
is therefore the derivative in the direction of the incoming gradient, and a square
costs it one product: ``d(V V) = V dV + (V dV)'``. Five steps cost 14 products; the
published backward pass takes 38.

The covariance ``S = Xc Xc' / N`` and the Gram matrix ``K = Xc' Xc / N`` share their
trace ``t`` and non-zero eigenvalues, so that

    sqrt(t) (S / t) z(S / t)  =  Xc z(K / t) Xc' / (N sqrt(t))

and the products run on the smaller of ``C x C`` and ``N x N`` matrices.
"""

import torch
from torch import Tensor

from .autograd import full_precision, needs_plain, own_gradient
from .covariance import (
    CovarianceNormalization,
    center,
    covariance,
    flatten_positions,
)
from .triangle import check_square, triangle, triangle_gradient

# Smallest trace that is divided by: a covariance below it counts as zero.
TRACE_FLOOR = 1e-12
# q(P) = (3 - P) / 2 times (3 - R) / 2 with R = P (3 - P)^2 / 4
#      = V^2 / 16 + SLOPE P + OFFSET with V = P^2 - 9/2 P + 27/8
SLOPE, OFFSET = -69 / 128, 1575 / 1024


def _check_iterations(iterations: int) -> None:
    if iterations < 1:
        raise ValueError(f'iterations must be at least 1, got {iterations}')


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
        Normalized covariances ``(B, C, C)``; zero where the trace is zero.

    Raises:
        ValueError: The matrices are not square, or ``iterations`` is below 1.

    Li et al., "Towards faster training of global covariance pooling networks by
    iterative matrix square root normalization", CVPR 2018.
    """
    check_square(matrix)
    _check_iterations(iterations)
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


def _plain_root(x: Tensor, iterations: int) -> Tensor:
    return triangle(newton_schulz_sqrt(covariance(x), iterations))


def _add_identity(matrix: Tensor, scale) -> Tensor:
    """Add ``scale`` (a number or ``(B, 1)``) to the diagonals, in place."""
    matrix.diagonal(dim1=1, dim2=2).add_(scale)
    return matrix


def _symmetrize(matrix: Tensor) -> Tensor:
    return matrix + matrix.transpose(1, 2)


def _run_steps(a: Tensor, iterations: int, root: bool) -> tuple[Tensor, list[Tensor]]:
    """``A Z`` if ``root``, else ``Z``, and what :func:`_differentiate_steps` needs.

    The symmetric matrices ``A``, ``(B, n, n)``, have eigenvalues in [0, 1].
    """
    pairs, single = divmod(iterations, 2)
    p, z, saved = a, (a if root else None), []
    for pair in range(pairs):
        v = _add_identity(torch.baddbmm(p, p, p, beta=-9 / 2), 27 / 8)
        q = torch.baddbmm(p, v, v, beta=SLOPE, alpha=1 / 16)
        q = _add_identity(q, OFFSET)
        saved += [p, v, q]
        if z is None:
            z = q
        else:
            saved.append(z)
            z = torch.bmm(z, q)
        if pair + 1 == pairs and not single:
            return z, saved
        if root and pair == 0:
            # z = P q already: the next P is z q.
            saved.append(z)
            p = torch.bmm(z, q)
        else:
            saved.append(torch.bmm(q, q))
            p = torch.bmm(p, saved[-1])
    if z is None:
        return _add_identity(p * -0.5, 1.5), saved
    return torch.baddbmm(z, z, p, beta=1.5, alpha=-0.5), [*saved, p, z]


def _differentiate_steps(
    direction: Tensor, iterations: int, root: bool, saved: list[Tensor]
) -> Tensor:
    """Derivative of :func:`_run_steps` in a symmetric direction ``(B, n, n)``."""
    pairs, single = divmod(iterations, 2)
    rest = iter(saved)
    dp, dz = direction, (direction if root else None)
    for pair in range(pairs):
        p, v, q = next(rest), next(rest), next(rest)
        # Half of each symmetric term: adding the transpose completes it.
        dv = _symmetrize(torch.baddbmm(dp, p, dp, beta=-9 / 4))
        dq = _symmetrize(torch.baddbmm(dp, v, dv, beta=SLOPE / 2, alpha=1 / 16))
        dz = dq if dz is None else torch.baddbmm(torch.bmm(dz, q), next(rest), dq)
        if pair + 1 == pairs and not single:
            return dz
        r = next(rest)
        if root and pair == 0:
            dp = torch.baddbmm(torch.bmm(dz, q), r, dq)
        else:
            dp = torch.bmm(dp, r)
            dp = torch.baddbmm(dp, p, _symmetrize(torch.bmm(q, dq)))
    if dz is None:
        return dp * -0.5
    p, z = next(rest), next(rest)
    dz = torch.baddbmm(dz, dz, p, beta=1.5, alpha=-0.5)
    return torch.baddbmm(dz, z, dp, alpha=-0.5)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per sample, ``(B, 1, 1)``, without a product of the size of ``a``."""
    return torch.bmm(a.reshape(a.size(0), 1, -1), b.reshape(b.size(0), -1, 1))


def _normalize(product: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Divide by the trace; also the divisor ``(B, 1, 1)`` and if it is the trace."""
    trace = product.diagonal(dim1=1, dim2=2).sum(1).view(-1, 1, 1)
    floor = n * TRACE_FLOOR
    divisor = trace.clamp_min(floor)
    return product.div_(divisor), divisor, trace > floor


class _GramRoot(torch.autograd.Function):
    """Products on the ``N x N`` side."""

    @staticmethod
    def forward(ctx, x, iterations):
        n = x.size(2)
        xc = center(x)
        a, total, above = _normalize(torch.bmm(xc.transpose(1, 2), xc), n)
        z, saved = _run_steps(a, iterations, root=False)
        matrix = torch.bmm(torch.bmm(xc, z), xc.transpose(1, 2))
        out = triangle(matrix).mul_((n * total).rsqrt().squeeze(2))
        ctx.arguments = (iterations,)
        ctx.save_for_backward(x, a, z, total, above, *saved)
        return out

    @staticmethod
    @own_gradient(_plain_root)
    def backward(ctx, grad):
        x, a, z, total, above, *saved = ctx.saved_tensors
        # Half, because the gather returns the gradient plus its transpose.
        grad = grad * ((x.size(2) * total).rsqrt() / 2).squeeze(2)
        # Centering again costs a pass over the features; keeping the centered ones
        # through the derivative would add to the peak.
        xc = center(x)
        gx = torch.bmm(triangle_gradient(grad, x.size(1)), xc)
        dz = torch.bmm(xc.transpose(1, 2), gx)
        del xc, grad
        da = _differentiate_steps(dz, ctx.arguments[0], False, saved)
        # The divisor: its root in front of the product, itself in a.
        dt = (_inner(dz, z) / 2 + _inner(da, a)) * above
        del dz
        dk = _add_identity(da, -dt.squeeze(2)).mul_(2 / total)
        return torch.baddbmm(torch.bmm(gx, z), center(x), dk, beta=2), None


class _CovarianceRoot(torch.autograd.Function):
    """Products on the ``C x C`` side."""

    @staticmethod
    def forward(ctx, x, iterations):
        n = x.size(2)
        xc = center(x)
        a, total, above = _normalize(torch.bmm(xc, xc.transpose(1, 2)), n)
        y, saved = _run_steps(a, iterations, root=True)
        out = triangle(y).mul_((total / n).sqrt().squeeze(2))
        ctx.arguments = (iterations,)
        ctx.save_for_backward(x, a, out, total, above, *saved)
        return out

    @staticmethod
    @own_gradient(_plain_root)
    def backward(ctx, grad):
        x, a, out, total, above, *saved = ctx.saved_tensors
        inner = (grad * out).sum(1).view(-1, 1, 1)
        grad = grad * ((total / x.size(2)).sqrt() / 2).squeeze(2)
        gy = triangle_gradient(grad, x.size(1))
        del grad
        da = _differentiate_steps(gy, ctx.arguments[0], True, saved)
        del gy
        dt = (inner / 2 - _inner(da, a)) * above
        ds = _add_identity(da, dt.squeeze(2)).mul_(2 / total)
        return torch.bmm(ds, center(x)), None


@full_precision
def newton_schulz_features(x: Tensor, iterations: int = 5) -> Tensor:
    """``triangle(newton_schulz_sqrt(covariance(x)))`` with less work and memory.

    Features ``(B, C, H, W)`` or ``(B, C, N)`` give vectors ``(B, C * (C + 1) / 2)``.
    """
    _check_iterations(iterations)
    x = flatten_positions(x)
    if needs_plain(x):
        return _plain_root(x, iterations)
    # The N x N side takes additional products with the features.
    gram_is_cheaper = x.size(2) < 0.9 * x.size(1)
    return (_GramRoot if gram_is_cheaper else _CovarianceRoot).apply(x, iterations)


class NewtonSchulz(CovarianceNormalization):
    """Module form of :func:`newton_schulz_sqrt` and :func:`newton_schulz_features`.

    Raises:
        ValueError: ``iterations`` is below 1.
    """

    def __init__(self, iterations: int = 5) -> None:
        super().__init__()
        _check_iterations(iterations)
        self.iterations = iterations

    def forward(self, matrix: Tensor) -> Tensor:
        """Map ``(B, C, C)`` to ``(B, C, C)``."""
        return newton_schulz_sqrt(matrix, self.iterations)

    def from_features(self, x: Tensor) -> Tensor:
        """Map features ``(B, C, H, W)`` to vectors ``(B, C * (C + 1) / 2)``."""
        return newton_schulz_features(x, self.iterations)

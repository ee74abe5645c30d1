"""Polynomials of many matrices at once, and their derivatives, in few products.

Newton-Schulz steps ``T_k = (3 I - P_k) / 2``, ``P_(k+1) = P_k T_k ** 2`` with
``P_1 = A`` give ``Z = T_1 T_2 ... T_N`` and the root ``A Z``. All of it commutes, so
two steps merge into one factor ``q(P)`` of degree 4, which by completing the square
takes two products. Five steps cost 10 products instead of 12.

At a symmetric matrix the derivative of a polynomial is its own adjoint. The gradient
is therefore the derivative in the direction of the incoming gradient, and a square
costs it one product: ``d(V V) = V dV + (V dV)'``. Five steps cost 14 products; the
published backward pass takes 38.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .dispatch import compiling


class Quartic(NamedTuple):
    """``lead * V ** 2 + slope * P + offset`` with ``V = P ** 2 + u * P + s``."""

    lead: float
    u: float
    s: float
    slope: float
    offset: float

    @classmethod
    def of(cls, c0: float, c1: float, c2: float, c3: float, c4: float) -> 'Quartic':
        """Complete the square of ``c0 + c1 P + c2 P^2 + c3 P^3 + c4 P^4``."""
        u = c3 / (2 * c4)
        s = (c2 / c4 - u * u) / 2
        return cls(c4, u, s, c1 - 2 * c4 * u * s, c0 - c4 * s * s)


class Linear(NamedTuple):
    """``offset + slope * P``."""

    offset: float
    slope: float


# Smallest trace that is divided by: a covariance below it counts as zero.
TRACE_FLOOR = 1e-12

STEP = Linear(1.5, -0.5)
# (3 - p) / 2 times (3 - r) / 2 with r = p (3 - p)^2 / 4, multiplied out.
TWO_STEPS = Quartic.of(2.25, -2.4375, 1.6875, -0.5625, 0.0625)
# Two factors of degree 4 whose root differs from that of five steps by less than
# 2e-6 max(f, 0.02) on [0, 1], f being the value: a minimax fit of ten coefficients
# (reweighted least squares on 5,000 points; tests measure the difference).
FIVE_STEPS_FIT = (
    Quartic.of(
        2.6600416479599125,
        -7.815960332004006,
        14.513879499807885,
        -13.251979999643236,
        4.617037667379932,
    ),
    Quartic.of(
        2.854732288145864,
        -4.91021043093658,
        5.314453503785422,
        -2.789572377716255,
        0.5544012655224703,
    ),
)


def newton_schulz_schedule(iterations: int) -> tuple:
    """Factors whose product is the ``Z`` of ``iterations`` Newton-Schulz steps."""
    return (TWO_STEPS,) * (iterations // 2) + (STEP,) * (iterations % 2)


def accumulate(target: Tensor, a: Tensor, b: Tensor, beta: float, alpha: float):
    """``beta * target + alpha * a b``, into ``target`` where that is possible.

    Written with ``out=``: FLOP counters know this operator and not the in-place one.
    """
    if compiling():
        return torch.baddbmm(target, a, b, beta=beta, alpha=alpha)
    return torch.baddbmm(target, a, b, beta=beta, alpha=alpha, out=target)


def add_identity(matrix: Tensor, scale) -> Tensor:
    """Add ``scale`` (a number or ``(B, 1)``) to the diagonals, in place."""
    matrix.diagonal(dim1=1, dim2=2).add_(scale)
    return matrix


def symmetrise(matrix: Tensor) -> Tensor:
    """``M + M'``."""
    return matrix + matrix.transpose(1, 2)


def evaluate(
    a: Tensor, schedule: tuple, root: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Product ``Z`` of the factors at symmetric matrices ``(B, n, n)``, or ``A Z``.

    Args:
        a: Matrices ``(B, n, n)`` with eigenvalues in [0, 1].
        schedule: Factors, a linear one only at the end.
        root: Return ``A Z`` in place of ``Z``.

    Returns:
        The product ``(B, n, n)`` and what :func:`derivative` needs.
    """
    p, z, saved = a, (a if root else None), []
    for k, factor in enumerate(schedule):
        if isinstance(factor, Linear):
            if z is None:
                z = add_identity(p * factor.slope, factor.offset)
            else:
                saved += [p, z]
                z = torch.baddbmm(z, z, p, beta=factor.offset, alpha=factor.slope)
            break
        v = add_identity(torch.baddbmm(p, p, p, beta=factor.u), factor.s)
        q = torch.baddbmm(p, v, v, beta=factor.slope, alpha=factor.lead)
        q = add_identity(q, factor.offset)
        saved += [p, v, q]
        first = z is p
        if z is None:
            z = q
        else:
            saved.append(z)
            z = torch.bmm(z, q)
        if k + 1 == len(schedule):
            break
        if first:
            # z = P q already: the next P is z q.
            saved.append(z)
            p = torch.bmm(z, q)
        else:
            r = torch.bmm(q, q)
            saved.append(r)
            p = torch.bmm(p, r)
    assert z is not None, 'an empty schedule'
    return z, saved


def derivative(
    direction: Tensor, schedule: tuple, saved: list[Tensor], root: bool = False
) -> Tensor:
    """Derivative of :func:`evaluate` in a symmetric direction ``(B, n, n)``."""
    rest = iter(saved)
    dp, dz = direction, (direction if root else None)
    for k, factor in enumerate(schedule):
        if isinstance(factor, Linear):
            if dz is None:
                return dp * factor.slope
            p, z = next(rest), next(rest)
            dz = torch.baddbmm(dz, dz, p, beta=factor.offset, alpha=factor.slope)
            return accumulate(dz, z, dp, 1, factor.slope)
        p, v, q = next(rest), next(rest), next(rest)
        # Half of each symmetric term: adding the transpose completes it.
        dv = symmetrise(torch.baddbmm(dp, p, dp, beta=factor.u / 2))
        dq = symmetrise(
            torch.baddbmm(dp, v, dv, beta=factor.slope / 2, alpha=factor.lead)
        )
        first = dz is dp
        dz = dq if dz is None else accumulate(torch.bmm(dz, q), next(rest), dq, 1, 1)
        if k + 1 == len(schedule):
            break
        if first:
            dp = accumulate(torch.bmm(dz, q), next(rest), dq, 1, 1)
        else:
            r = next(rest)
            dp = accumulate(torch.bmm(dp, r), p, symmetrise(torch.bmm(q, dq)), 1, 1)
    assert dz is not None, 'an empty schedule'
    return dz


def plain_matrix_root(matrix: Tensor, schedule: tuple) -> Tensor:
    """``sqrt(t) A z(A)`` with ``A = M / t`` in operations autograd knows.

    Args:
        matrix: Covariances ``(B, n, n)`` of trace ``t``.
        schedule: Factors of ``z``.
    """
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1).clamp_min(TRACE_FLOOR)
    trace = trace.view(-1, 1, 1)
    identity = torch.eye(matrix.size(1), dtype=matrix.dtype, device=matrix.device)
    p = root = matrix / trace
    q = identity.expand_as(p)
    for k, factor in enumerate(schedule):
        if k:
            p = torch.bmm(p, torch.bmm(q, q))
        if isinstance(factor, Linear):
            q = factor.offset * identity + factor.slope * p
        else:
            v = torch.bmm(p, p) + factor.u * p + factor.s * identity
            q = factor.lead * torch.bmm(v, v) + factor.slope * p
            q = q + factor.offset * identity
        root = torch.bmm(root, q)
    return root * trace.sqrt()

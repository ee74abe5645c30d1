"""Products with the Hessian of a loss, and what they say about its spectrum."""

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from .linear_operators import refuse_cut_graph, twice_differentiable
from .loss import SampleLoss, flatten, unflatten
from mmgcp.engine.distributed import local_sums, sum_over_processes

Product = Callable[[Tensor], Tensor]


class _BatchLoss(nn.Module):
    """A loss in the form that curvlinops wants: a model called with data."""

    def __init__(self, loss: SampleLoss) -> None:
        super().__init__()
        self.model = loss.model
        self._loss = [loss]  # a list keeps it from being a submodule

    def forward(self, batch: dict) -> Tensor:
        return self._loss[0].batch_loss(batch['index'])


class _TakeLoss(nn.Module):
    """A loss function for a model that returns its loss."""

    reduction = 'mean'

    def forward(self, prediction: Tensor, _target: Tensor) -> Tensor:
        return prediction


def curvlinops_product(loss: SampleLoss) -> Product:
    """Exact products by curvlinops: forward over reverse differentiation.

    Raises:
        ImportError: curvlinops is not installed.
        Exception: Whatever the model raises under ``torch.func``; a custom
            ``autograd.Function`` (mmcv's RoIAlign, a Newton-Schulz with its own
            backward pass) is the usual reason.
    """
    from curvlinops import HessianLinearOperator

    parameters = loss.parameters
    data = [
        ({'index': i, 'images': size}, torch.zeros(1))
        for i, size in enumerate(loss.sizes)
    ]
    operator = None
    if data:
        operator = HessianLinearOperator(
            _BatchLoss(loss),
            _TakeLoss(),
            parameters,
            data,
            progressbar=False,
            check_deterministic=False,
            num_data=loss.total,
            batch_size_fn=lambda batch: batch['images'],
        )

    def product(vector: Tensor) -> Tensor:
        local = torch.zeros(loss.numel, dtype=torch.float64)
        if operator is not None:
            local = flatten(operator @ unflatten(vector, parameters), parameters)
        return sum_over_processes(local)

    return product


def backward_product(loss: SampleLoss) -> Product:
    """Exact products by differentiating the gradient: reverse over reverse.

    The way through what ``torch.func`` cannot trace, a detector above all.
    """

    def product(vector: Tensor) -> Tensor:
        parameters = loss.parameters
        direction = unflatten(vector, parameters)
        total = torch.zeros(loss.numel, dtype=torch.float64)
        for index, size in enumerate(loss.sizes):
            with twice_differentiable(loss.model):
                gradients = torch.autograd.grad(
                    loss.batch_loss(index),
                    parameters,
                    create_graph=True,
                    allow_unused=True,
                )
                terms = (
                    (g * d).sum()
                    for g, d in zip(gradients, direction, strict=True)
                    if g is not None and g.requires_grad
                )
                slope = cast(Tensor, sum(terms))
                refuse_cut_graph(slope)
                second = torch.autograd.grad(slope, parameters, allow_unused=True)
            total += size * flatten(second, parameters)
        return sum_over_processes(total) / loss.total

    return product


def difference_product(loss: SampleLoss, step: float = 1e-6) -> Product:
    """Products by central differences of the gradient, in double precision.

    They need nothing but a gradient. But between the two points a network with
    ReLU has kinks, which an exact product ignores and these do not: the result
    is noisy where many units are near zero. ``step`` is the length of the move
    in units of the norm of the weights, or of one where that is less.
    """
    double = loss.double()
    centre = double.weights()
    length = step * max(float(centre.norm()), 1.0)

    def product(vector: Tensor) -> Tensor:
        norm = float(vector.norm())
        if norm == 0:
            return torch.zeros_like(vector)
        offset = vector * (length / norm)
        with double.at(centre + offset):
            ahead = double.gradient()
        with double.at(centre - offset):
            behind = double.gradient()
        return (ahead - behind) * (norm / (2 * length))

    return product


# In the order of preference.
ENGINES = {
    'curvlinops': (curvlinops_product, 'exact, curvlinops'),
    'backward': (backward_product, 'exact, reverse over reverse'),
    'differences': (
        difference_product,
        'central differences of the gradient in float64, noisy at kinks',
    ),
}


def hessian_product(loss: SampleLoss, engine: str = 'auto') -> tuple[Product, dict]:
    """Choose how to multiply with the Hessian.

    Args:
        loss (SampleLoss): The loss.
        engine (str): A key of :data:`ENGINES`, or ``'auto'``: the first that can
            differentiate this model.

    Returns:
        tuple: The product, and for the output which engine it is and why those
        before it were not taken.

    Raises:
        ValueError: ``engine`` is unknown.
    """
    if engine not in ('auto', *ENGINES):
        raise ValueError(f'engine={engine!r}: auto, {", ".join(ENGINES)}')
    skipped: dict[str, str] = {}
    for name, (make, words) in ENGINES.items():
        if engine not in ('auto', name):
            continue
        product, error = _try(make, loss)
        if error is None:
            return cast(Product, product), {'engine': words, 'skipped': skipped}
        if name in (engine, 'differences'):
            raise error
        lines = str(error).strip().splitlines()
        skipped[name] = f'{type(error).__name__}: {lines[0] if lines else ""}'
    raise AssertionError('unreachable: the last engine returns or raises')


def _try(
    make: Callable[[SampleLoss], Product], loss: SampleLoss
) -> tuple[Product | None, Exception | None]:
    """Make a product and try it; all processes come to the same verdict."""
    product, error = None, None
    try:
        product = make(loss)
        # Before the sum over processes, where one that failed would be missed.
        if loss.sizes:
            with local_sums():
                product(torch.ones(loss.numel, dtype=torch.float64))
    except Exception as caught:  # every operator refuses in its own way
        error = caught
    failures = float(sum_over_processes(torch.tensor([float(error is not None)])))
    if failures and error is None:
        error = RuntimeError('another process failed')
    return product, error


def lanczos(product: Product, size: int, steps: int, seed: int, top: int) -> dict:
    """Extreme eigenvalues by Lanczos with full re-orthogonalisation.

    Args:
        product (Callable): Symmetric product on ``(size,)`` float64.
        size (int): Dimension.
        steps (int): Products to spend; at most ``size``.
        seed (int): Seed of the start vector.
        top (int): Eigenvalues to report.

    Returns:
        dict: ``eigenvalues`` (largest first), ``residuals`` (each is within that
        distance of an eigenvalue), ``smallest``, ``vector`` of the largest one,
        and ``history``: the leading estimates after each product.
    """
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    basis = [vector / vector.norm()]
    diagonal, beside, history = [], [], []
    for step in range(min(steps, size)):
        image = product(basis[-1])
        diagonal.append(float(basis[-1] @ image))
        for _ in range(2):
            for kept in basis:
                image = image - (kept @ image) * kept
        beside.append(float(image.norm()))
        matrix = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
        values, vectors = np.linalg.eigh(matrix)
        history.append(values[::-1][:top].tolist())
        scale = max(abs(values).max(), np.finfo(float).tiny)
        if beside[-1] <= 1e-10 * scale or step + 1 == min(steps, size):
            break
        basis.append(image / beside[-1])
    order = np.argsort(values)[::-1]
    residuals = np.abs(beside[-1] * vectors[-1, order])
    leading = torch.from_numpy(vectors[:, order[0]].copy())
    return {
        'eigenvalues': values[order][:top].tolist(),
        'residuals': residuals[:top].tolist(),
        'smallest': float(values.min()),
        'history': history,
        'vector': torch.stack(basis, 1) @ leading,
    }


def hutchinson(product: Product, size: int, probes: int, seed: int) -> dict:
    """Trace by M. Hutchinson's estimator with Rademacher probes.

    Returns:
        dict: ``trace``, its ``standard_error``, and ``history``: the running mean.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(probes):
        probe = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
        samples.append(float(probe @ product(probe)))
    values = np.array(samples)
    spread = values.std(ddof=1) / probes**0.5 if probes > 1 else float('nan')
    running = values.cumsum() / np.arange(1, probes + 1)
    return {
        'trace': float(values.mean()),
        'standard_error': float(spread),
        'history': running.tolist(),
    }

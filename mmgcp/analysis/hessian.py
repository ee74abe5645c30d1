"""Products with the Hessian of a loss, and what they say about its spectrum."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from .loss import SampleLoss, flatten, unflatten
from .processes import sum_over_processes

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


def difference_product(loss: SampleLoss, step: float = 1e-6) -> Product:
    """Products by central differences of the gradient, in double precision.

    They need nothing but a gradient, so they work through every operator.
    ``step`` is the length of the move in units of the weights' own length.
    """
    double = loss.double()
    centre = double.weights()
    length = step * max(float(centre.norm()), 1e-12)

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


def hessian_product(loss: SampleLoss, engine: str = 'auto') -> tuple[Product, str]:
    """Choose how to multiply with the Hessian.

    Args:
        loss (SampleLoss): The loss.
        engine (str): ``'curvlinops'``, ``'differences'``, or ``'auto'``: the first
            one if the model can be differentiated that way, else the second.

    Returns:
        tuple: The product and a sentence for the output that names the engine.

    Raises:
        ValueError: ``engine`` is none of the three.
    """
    if engine not in ('auto', 'curvlinops', 'differences'):
        raise ValueError(f'engine is {engine!r}: auto, curvlinops or differences')
    reason = 'as asked'
    if engine != 'differences':
        try:
            product = curvlinops_product(loss)
            failed, error = _fails(product, loss)
        except ImportError as missing:
            failed, error = True, missing
        if not failed:
            return product, 'exact, curvlinops'
        if engine == 'curvlinops':
            raise error
        text = str(error).strip().splitlines()
        reason = f'{type(error).__name__}: {text[0] if text else ""}'
        print_log(
            'curvlinops cannot differentiate this model twice '
            f'({reason}); central differences in double precision instead',
            logger='current',
            level=logging.WARNING,
        )
    return (
        difference_product(loss),
        f'central differences of the gradient, float64 ({reason})',
    )


def _fails(product: Product, loss: SampleLoss) -> tuple[bool, Exception | None]:
    """Try one product; all processes come to the same verdict."""
    error: Exception | None = None
    try:
        # A single batch decides whether the model can be traced.
        if loss.sizes:
            product(torch.ones(loss.numel, dtype=torch.float64))
    except Exception as caught:  # any framework operator may refuse, in its own way
        error = caught
    failures = float(sum_over_processes(torch.tensor([float(error is not None)])))
    if failures and error is None:
        error = RuntimeError('another process failed')
    return failures > 0, error


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

"""The loss of a fixed sample as a function of the weights, and its Hessian."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from mmengine.dist import all_gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmgcp.engine.distributed import sum_over_processes
from mmgcp.engine.loss import fixed_proposals, model_loss, prepare
from mmgcp.utils.errors import UserError
from mmgcp.utils.random_state import seeded

from .sample import Batches

Map = Callable[[Tensor], Tensor]


class SampleLoss:
    """Mean loss of a fixed sample, its gradient, and moves of the weights.

    Dropout is off. Random samplers of a detector get the same seed at every
    evaluation. Batch-norm layers use their running statistics (``batch_norm='eval'``)
    or those of each batch (``'train'``), and never update them.

    Args:
        model: A model of mmpretrain, mmdet or mmseg.
        sample: Share of the sample that this process holds.
        part: Prefix of the parameters that move; '' for all of them.
        batch_norm: ``'eval'`` or ``'train'``.
        seed: Seed of each evaluation.

    Raises:
        UserError: No parameter begins with ``part``.
    """

    def __init__(
        self,
        model: nn.Module,
        sample: Batches,
        part: str = '',
        batch_norm: str = 'eval',
        seed: int = 0,
    ) -> None:
        self.model = model.eval()
        self.sizes, self.total, self.seed = sample.sizes, sample.total, seed
        self.data = [prepare(model, batch) for batch in sample.batches]
        self._proposals: dict = {}
        names = [name for name, _ in model.named_parameters() if name.startswith(part)]
        if not names:
            raise UserError(f'no parameter of the model begins with {part!r}')
        self.names = names
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in set(names))
        if batch_norm == 'train':
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.train()
                    module.momentum = 0.0

    @property
    def parameters(self) -> list[Tensor]:
        table = dict(self.model.named_parameters())
        return [table[name] for name in self.names]

    @property
    def numel(self) -> int:
        return sum(p.numel() for p in self.parameters)

    def batch_loss(self, index: int) -> Tensor:
        """Loss of one of this process' batches, with its graph."""
        with seeded(self.seed), fixed_proposals(self.model) as state:
            state['store'], state['key'] = self._proposals, index
            return model_loss(self.model, self.data[index])

    @torch.no_grad()
    def value(self) -> float:
        """Mean loss over the sample of all processes."""
        losses = [float(self.batch_loss(i)) * size for i, size in enumerate(self.sizes)]
        total = sum_over_processes(torch.tensor(sum(losses), dtype=torch.float64))
        return float(total) / self.total

    def gradient(self) -> Tensor:
        """Gradient of :meth:`value`, flat ``(P,)``, in double precision."""
        parameters = self.parameters
        total = torch.zeros(self.numel, dtype=torch.float64)
        for index, size in enumerate(self.sizes):
            gradients = torch.autograd.grad(
                self.batch_loss(index), parameters, materialize_grads=True
            )
            total += size * flatten(gradients)
        return sum_over_processes(total) / self.total

    def weights(self) -> Tensor:
        """Current weights, flat ``(P,)``, in double precision."""
        return flatten(self.parameters)

    @contextmanager
    def at(self, weights: Tensor) -> Iterator[None]:
        """Evaluate at other weights ``(P,)``, then come back exactly."""
        kept = [p.detach().clone() for p in self.parameters]
        try:
            self._write(unflatten(weights, self.parameters))
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def double(self) -> 'SampleLoss':
        """The same loss in double precision, on a copy of the model.

        Proposals and boxes stay as they are: they are constants, and the compiled
        operators that make them know single precision only.
        """
        if self.data and not self._proposals:
            self.value()
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model).double()
        other.data = [{**data, 'inputs': data['inputs'].double()} for data in self.data]
        return other


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate into ``(P,)`` float64 on the CPU."""
    return torch.cat([t.detach().reshape(-1).double().cpu() for t in tensors])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a flat ``(P,)`` vector into tensors shaped and typed as ``like``."""
    pieces = vector.split([p.numel() for p in like])
    return [v.view_as(p).to(p) for v, p in zip(pieces, like, strict=True)]


def _batch_product(loss: SampleLoss, index: int, direction: list[Tensor]) -> Tensor:
    """Product with the Hessian of one batch's mean loss: differentiate twice."""
    parameters = loss.parameters
    with twice_differentiable(loss.model):
        gradients = torch.autograd.grad(
            loss.batch_loss(index),
            parameters,
            create_graph=True,
            materialize_grads=True,
        )
        pairs = zip(gradients, direction, strict=True)
        terms = ((g * d).sum() for g, d in pairs if g.requires_grad)
        slope = sum(terms, torch.zeros(()))
        refuse_cut_graph(slope)
        return flatten(torch.autograd.grad(slope, parameters, materialize_grads=True))


def exact_product(loss: SampleLoss) -> Map:
    """Products with the Hessian by differentiating the gradient."""

    def product(vector: Tensor) -> Tensor:
        direction = unflatten(vector, loss.parameters)
        total = torch.zeros(loss.numel, dtype=torch.float64)
        for index, size in enumerate(loss.sizes):
            total += size * _batch_product(loss, index, direction)
        return sum_over_processes(total) / loss.total

    return product


def difference_product(loss: SampleLoss, step: float = 1e-6) -> Map:
    """Products by central differences of the gradient, in double precision.

    They need nothing but a gradient. But between the two points a network with ReLU
    has kinks, which an exact product ignores and these do not: the result is noisy
    where many units are near zero. ``step`` is the length of the move in units of the
    norm of the weights, or of one where that is less.
    """
    double = loss.double()
    center = double.weights()
    length = step * max(float(center.norm()), 1.0)

    def product(vector: Tensor) -> Tensor:
        norm = float(vector.norm())
        if norm == 0:
            return torch.zeros_like(vector)
        offset = vector * (length / norm)
        with double.at(center + offset):
            ahead = double.gradient()
        with double.at(center - offset):
            behind = double.gradient()
        return (ahead - behind) * (norm / (2 * length))

    return product


def hessian_product(loss: SampleLoss) -> tuple[Map, dict]:
    """Products with the Hessian, exact if the model can be differentiated twice.

    Returns:
        The product, and for the output the method and why it is not exact.
    """
    reason = None
    if loss.sizes:
        try:
            _batch_product(loss, 0, [torch.ones_like(p) for p in loss.parameters])
        except (RuntimeError, NotImplementedError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    # All processes use the same method.
    reason = next((r for r in all_gather_object(reason) if r), None)
    if reason is None:
        return exact_product(loss), {'method': 'exact', 'reason': None}
    method = 'differences of the gradient in float64, noisy at kinks'
    return difference_product(loss), {'method': method, 'reason': reason}


class _Linear(torch.autograd.Function):
    """A linear map whose gradient is its adjoint, to any order."""

    @staticmethod
    def forward(ctx, x: Tensor, forward: Map, adjoint: Map) -> Tensor:
        ctx.maps = forward, adjoint
        # Compiled operators read memory as if it were contiguous, and what
        # autograd hands over may be an expanded scalar.
        return forward(x.contiguous())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        forward, adjoint = ctx.maps
        return _Linear.apply(gradient, adjoint, forward), None, None


def linear_map(forward: Map, x: Tensor) -> Tensor:
    """Apply a linear map that autograd can differentiate once, to any order.

    The derivative of a linear map is the map, and one backward pass gives its adjoint.
    """

    def adjoint(gradient: Tensor) -> Tensor:
        with torch.enable_grad():
            point = torch.zeros_like(x, requires_grad=True)
            return torch.autograd.grad(forward(point), point, gradient)[0]

    return _Linear.apply(x, forward, adjoint)


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Make every averaging RoIAlign of a model twice differentiable.

    RoIAlign is linear in the feature map, and its boxes are constants.
    """
    modules = [
        module
        for module in model.modules()
        if type(module).__name__ == 'RoIAlign' and module.pool_mode == 'avg'
    ]

    def align(original, features: Tensor, rois: Tensor) -> Tensor:
        return linear_map(lambda x: original(x, rois), features)

    for module in modules:
        module.forward = partial(align, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.forward


def refuse_cut_graph(value: Tensor) -> None:
    """Raise if a derivative went through an operator that gives only one.

    Such an operator leaves an error node in the graph. It raises when autograd runs
    through it, but a search for given inputs stops in front of it, and the term would
    silently be missing.

    Raises:
        RuntimeError: There is such a node.
    """
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith('Error'):
            raise RuntimeError(
                'an operator of the model can be differentiated only once'
            )
        waiting.extend(following for following, _ in node.next_functions)


def lanczos(product: Map, size: int, steps: int, seed: int, top: int) -> dict:
    """Extreme eigenvalues by Lanczos with full re-orthogonalization.

    Args:
        product: Symmetric product on ``(size,)`` float64.
        size: Dimension.
        steps: Products to spend; at most ``size``.
        seed: Seed of the start vector.
        top: Eigenvalues to report.

    Returns:
        ``eigenvalues`` (largest first), ``residuals`` (each is within that distance of
        an eigenvalue), ``smallest``, and ``history``: the leading estimates after each
        product.
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
    residuals = np.abs(beside[-1] * vectors[-1, ::-1])
    return {
        'eigenvalues': values[::-1][:top].tolist(),
        'residuals': residuals[:top].tolist(),
        'smallest': float(values.min()),
        'history': history,
    }


def hutchinson(product: Map, size: int, probes: int, seed: int) -> dict:
    """Trace by M. Hutchinson's estimator with Rademacher probes.

    Returns:
        ``trace``, its ``standard_error``, and ``history``: the running mean.
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

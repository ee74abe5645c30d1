"""The loss of a fixed sample as a function of the weights, and its Hessian."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import numpy as np
import torch
from mmengine.dist import all_gather_object
from scipy.linalg import eigh_tridiagonal
from scipy.stats import sem
from torch import Tensor, nn

from mmgcp.engine.distributed import sum_over_processes
from mmgcp.engine.forward import fixed_proposals, model_loss, prepare
from mmgcp.utils.errors import UserError
from mmgcp.utils.random_state import seeded

from .sample import Batches

Map = Callable[[Tensor], Tensor]


class SampleLoss:
    """Mean loss of a fixed sample, its gradient, and moves of the weights.

    Dropout is off, batch-norm layers use their running statistics, and random samplers
    of a detector get the same seed at every evaluation.

    ``part`` is the prefix of the parameters that move; '' for all of them.
    """

    def __init__(
        self, model: nn.Module, sample: Batches, part: str = '', seed: int = 0
    ) -> None:
        self.model = model.eval()
        self.sizes, self.total, self.seed = sample.sizes, sample.total, seed
        self.data = [prepare(model, batch) for batch in sample.batches]
        self._proposals: dict = {}
        self.parameters = []
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(part))
            if parameter.requires_grad:
                self.parameters.append(parameter)
        if not self.parameters:
            raise UserError(f'no parameter of the model begins with {part!r}')
        self.numel = sum(p.numel() for p in self.parameters)

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
        total = torch.zeros(self.numel, dtype=torch.float64)
        for index, size in enumerate(self.sizes):
            value = self.batch_loss(index)
            total += size * flatten(
                torch.autograd.grad(value, self.parameters, materialize_grads=True)
            )
        return sum_over_processes(total) / self.total

    def weights(self) -> Tensor:
        """Current weights, flat ``(P,)``, in double precision."""
        return flatten(self.parameters)

    @contextmanager
    def at(self, weights: Tensor) -> Iterator[None]:
        """Evaluate at other weights ``(P,)``, then come back exactly."""
        kept = [p.data for p in self.parameters]
        moved = unflatten(weights, self.parameters)
        try:
            for parameter, value in zip(self.parameters, moved, strict=True):
                parameter.data = value
            yield
        finally:
            for parameter, value in zip(self.parameters, kept, strict=True):
                parameter.data = value


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate into ``(P,)`` float64 on the CPU."""
    return torch.cat([t.detach().reshape(-1).double().cpu() for t in tensors])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a flat ``(P,)`` vector into tensors shaped and typed as ``like``."""
    pieces = vector.split([p.numel() for p in like])
    return [v.view_as(p).to(p) for v, p in zip(pieces, like, strict=True)]


def hessian_product(loss: SampleLoss) -> Map:
    """Exact products with the Hessian, by differentiating the gradient.

    Differences of the gradient are no substitute: they meet the kinks of ReLU and
    max-pooling, and can be wrong by a factor of a hundred.
    """
    differentiate = partial(
        torch.autograd.grad, inputs=loss.parameters, materialize_grads=True
    )

    def batch_product(index: int, direction: Sequence[Tensor]) -> Tensor:
        with twice_differentiable(loss.model):
            gradients = differentiate(loss.batch_loss(index), create_graph=True)
            pairs = zip(gradients, direction, strict=True)
            terms = ((g * d).sum() for g, d in pairs if g.requires_grad)
            slope = sum(terms, torch.zeros(()))
            refuse_cut_graph(slope)
            return flatten(differentiate(slope))

    def product(vector: Tensor) -> Tensor:
        direction = unflatten(vector, loss.parameters)
        total = torch.zeros(loss.numel, dtype=torch.float64)
        for index, size in enumerate(loss.sizes):
            total += size * batch_product(index, direction)
        return sum_over_processes(total) / loss.total

    # All processes find out before one of them waits for a sum.
    reason = ''
    if loss.sizes:
        try:
            batch_product(0, loss.parameters)
        except RuntimeError as error:
            reason = str(error).partition('\n')[0] or type(error).__name__
    for found in filter(None, all_gather_object(reason)):
        raise NotTwiceDifferentiable(found)
    return product


class NotTwiceDifferentiable(UserError):
    """There is no Hessian of this model by automatic differentiation."""


class _Linear(torch.autograd.Function):
    """A linear map whose gradient is its adjoint, to any order."""

    @staticmethod
    def forward(ctx, x: Tensor, forward: Map, adjoint: Map) -> Tensor:
        ctx.maps = forward, adjoint
        # Compiled operators want contiguous memory; autograd may hand over a scalar.
        return forward(x.contiguous())

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        forward, adjoint = ctx.maps
        return _Linear.apply(gradient, adjoint, forward), None, None


def linear_map(forward: Map, x: Tensor) -> Tensor:
    """Apply a linear map that autograd can differentiate once, to any order."""

    def adjoint(gradient: Tensor) -> Tensor:
        with torch.enable_grad():
            point = torch.zeros_like(x, requires_grad=True)
            return torch.autograd.grad(forward(point), point, gradient)[0]

    return _Linear.apply(x, forward, adjoint)


@contextmanager
def twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Make RoIAlign and attention twice differentiable.

    RoIAlign is linear in the feature map, and its boxes are constants. Of attention
    torch's plain form is used.
    """

    def align(original, features: Tensor, rois: Tensor) -> Tensor:
        return linear_map(lambda x: original(x, rois), features)

    modules = [
        module
        for module in model.modules()
        if type(module).__name__ == 'RoIAlign' and module.pool_mode == 'avg'
    ]
    try:
        for module in modules:
            module.forward = partial(align, module.forward)
        with plain_attention():
            yield
    finally:
        for module in modules:
            del module.forward


def plain_attention() -> AbstractContextManager:
    """Attention as matrix products, on a CPU as well."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # torch before 2.3
        return torch.backends.cuda.sdp_kernel(False, True, False)
    return sdpa_kernel(SDPBackend.MATH)


def refuse_cut_graph(value: Tensor) -> None:
    """Raise if a derivative went through an operator that gives only one.

    Such an operator leaves an error node in the graph, in front of which a search for
    given inputs stops. The term would silently be missing.
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
    """The ``top`` eigenvalues by ``steps`` of Lanczos with full re-orthogonalization.

    Each is within its ``residuals`` of a true one; ``history`` holds the estimates
    after each product. ``product`` is a symmetric one on ``(size,)`` float64.
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
        values, vectors = eigh_tridiagonal(diagonal, beside[:-1])
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

    ``standard_error`` is that of the probes, NaN for a single one.
    """
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(probes):
        probe = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
        samples.append(float(probe @ product(probe)))
    error = sem(samples) if probes > 1 else math.nan
    return {'trace': np.mean(samples), 'standard_error': error}

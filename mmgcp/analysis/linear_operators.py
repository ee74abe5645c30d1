"""Second derivatives through compiled operators that give only first ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

Map = Callable[[Tensor], Tensor]


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


def linear_map(x: Tensor, forward: Map) -> Tensor:
    """Apply a linear map that autograd can differentiate once.

    The result can be differentiated as often as one likes: the derivative of a
    linear map is the map, and one backward pass gives its adjoint.

    Args:
        x (Tensor): Input.
        forward (Callable): The map; everything but ``x`` is a constant in it.
    """

    def adjoint(gradient: Tensor) -> Tensor:
        with torch.enable_grad():
            point = torch.zeros_like(x, requires_grad=True)
            return torch.autograd.grad(forward(point), point, gradient)[0]

    return _Linear.apply(x, forward, adjoint)


def refuse_cut_graph(value: Tensor) -> None:
    """Raise if a derivative went through an operator that gives only one.

    Such an operator leaves an error node in the graph. It raises when autograd
    runs through it, but a search for given inputs stops in front of it, and
    the term would silently be missing.

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
        return linear_map(features, lambda x: original(x, rois))

    for module in modules:
        module.forward = partial(align, module.forward)
    try:
        yield
    finally:
        for module in modules:
            del module.forward

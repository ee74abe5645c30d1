"""Counting multiply-adds and kept activations, part by part."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def _shape(value: Any) -> Sequence[int]:
    # Releases of torch differ in whether a formula gets tensors or shapes.
    return getattr(value, 'shape', value)


def _eigh_flops(matrix: Any, *_args: Any, **_kwargs: Any) -> int:
    """About 9 n^3 for eigenvalues and vectors (Golub and Van Loan, 8.3)."""
    *batch, size, _ = _shape(matrix)
    return math.prod(batch) * 9 * size**3


def _added_product_flops(_input: Any, a: Any, b: Any, *_: Any, **__: Any) -> int:
    return 2 * math.prod(_shape(a)) * _shape(b)[-1]


# The counter knows convolutions and out-of-place matrix products; these it
# does not.
EXTRA_OPERATORS = {
    torch.ops.aten._linalg_eigh: _eigh_flops,
    torch.ops.aten.baddbmm_: _added_product_flops,
    torch.ops.aten.addmm_: _added_product_flops,
}


def count_flops(
    call: Callable[[], Any], parts: dict[str, nn.Module]
) -> tuple[int, dict[str, int]]:
    """Floating-point operations of a call, in all and inside each part.

    Counted are convolutions, matrix products (so also covariances and the
    products of a Newton-Schulz iteration) and eigendecompositions. Additions,
    normalisation, pooling, activation, RoIAlign and NMS are not, as everywhere
    in this field.

    Args:
        call (Callable): Runs the model.
        parts (dict[str, nn.Module]): Modules to attribute to; not nested.

    Returns:
        tuple: The total, and the count per part. A multiply-add is two.
    """
    counter = FlopCounterMode(display=False, custom_mapping=EXTRA_OPERATORS)
    inside = dict.fromkeys(parts, 0)
    with counter, measured_parts(parts, counter.get_total_flops, inside):
        call()
    return counter.get_total_flops(), inside


def count_kept_bytes(
    call: Callable[[], Any], model: nn.Module, parts: dict[str, nn.Module]
) -> tuple[int, dict[str, int]]:
    """Bytes that autograd keeps for the backward pass of a call.

    Each storage counts once, where it is kept first; parameters and buffers,
    which exist anyway, do not.

    Returns:
        tuple: The total, and the bytes per part.
    """
    own = {t.untyped_storage().data_ptr() for t in model.parameters()}
    own |= {t.untyped_storage().data_ptr() for t in model.buffers()}
    # Holding on to the tensors keeps an address from being used twice.
    kept: dict[int, Tensor] = {}
    total = [0]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and storage.data_ptr() not in kept:
            kept[storage.data_ptr()] = tensor
            total[0] += storage.nbytes()
        return tensor

    inside = dict.fromkeys(parts, 0)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.enable_grad(), hooks, measured_parts(parts, lambda: total[0], inside):
        call()
    return total[0], inside


@contextmanager
def measured_parts(
    parts: dict[str, nn.Module], counter: Callable[[], int], inside: dict[str, int]
) -> Iterator[None]:
    """Add to ``inside`` what ``counter`` grows by within each part.

    Heads of detectors and segmenters are not always called as modules: their
    ``loss`` or ``predict`` methods are. What runs in a child of a part counts
    for the part; what runs in its methods only does not.
    """
    depth: dict[str, int] = dict.fromkeys(parts, 0)
    handles = []
    for name, part in parts.items():
        entered: list[int] = []

        def enter(_module, _inputs, name=name, entered=entered) -> None:
            if depth[name] == 0:
                entered.append(counter())
            depth[name] += 1

        def leave(_module, _inputs, _output, name=name, entered=entered) -> None:
            depth[name] -= 1
            if depth[name] == 0:
                inside[name] += counter() - entered.pop()

        for module in part.modules():
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

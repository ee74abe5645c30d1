"""How far a step is from what its arithmetic and its traffic allow on a machine."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.profiler import DeviceType, ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from .timing import clock


class Traffic(TorchDispatchMode):
    """Counts operators, and the bytes that they read and write; views cost nothing."""

    operators = total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        read = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        written = [t for t in tree_flatten(out)[0] if isinstance(t, Tensor)]
        if not function.is_view and 'view' not in function.__name__:
            self.total += sum(t.numel() * t.element_size() for t in read + written)
        self.operators += 1
        return out


def kernels(step: Callable, device: str) -> int:
    """Kernels that a step launches on a GPU, or operators that it calls on a CPU."""
    if device == 'cpu':
        with Traffic() as counted:
            step()
        return counted.operators
    with profile(activities=[ProfilerActivity.CUDA]) as run:
        step()
        torch.cuda.synchronize()
    return sum(event.device_type == DeviceType.CUDA for event in run.events())


@functools.cache
def rates(device: str, dtype: torch.dtype, tf32: bool) -> tuple[float, float]:
    """Operations and bytes per second, of a large product and a large copy.

    Args:
        device: Where they are measured.
        dtype: Of the product.
        tf32: Whether float32 products are in TF32; a key only, the setting is global.
    """
    size, length = (8192, 2**28) if device == 'cuda' else (1024, 2**24)
    a = torch.ones(size, size, dtype=dtype, device=device)
    x = torch.ones(length, device=device)
    y, seconds = torch.empty_like(x), clock(device)
    product = min(seconds(lambda: a @ a) for _ in range(5))
    copy = min(seconds(lambda: y.copy_(x)) for _ in range(5))
    return 2 * size**3 / product, 8 * length / copy


def roofline(
    step: Callable, run: Callable, milliseconds: float, device: str, dtype: torch.dtype
) -> dict:
    """Cost of a step and its time over the least that this cost can take.

    Args:
        step: Its operators one by one, to count.
        run: The form that was timed: the step, compiled or as a graph.
        milliseconds: What was timed.
        device: Where it runs.
        dtype: Of its products.

    Returns:
        Operations, bytes and kernels of the step, milliseconds of the floor (the
        larger of arithmetic and traffic), and the time over it.
    """
    with FlopCounterMode(display=False) as flops, Traffic() as traffic:
        step()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    speed, bandwidth = rates(device, dtype, tf32)
    operations = flops.get_total_flops()
    floor = 1e3 * max(operations / speed, traffic.total / bandwidth)
    return {
        'gflop': operations / 1e9,
        'mbyte': traffic.total / 1e6,
        'kernels': kernels(run, device),
        'floor_milliseconds': floor,
        'over_floor': milliseconds / floor,
    }

"""Float32 arithmetic whatever the surrounding autocast says."""

import functools

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)

try:  # torch >= 2.4 asks for the device type
    torch.is_autocast_enabled('cpu')
    _ASKS_DEVICE = True
except TypeError:
    _ASKS_DEVICE = False


def autocast_enabled(device_type: str) -> bool:
    """Whether autocast is on for a device type ('cpu', 'cuda', ...)."""
    if device_type == 'meta':
        return False
    if _ASKS_DEVICE:
        return torch.is_autocast_enabled(device_type)
    if device_type == 'cpu':
        return torch.is_autocast_cpu_enabled()
    return torch.is_autocast_enabled()


def _widen(value):
    if isinstance(value, Tensor) and value.dtype in HALF:
        return value.float()
    return value


def full_precision(function):
    """Run ``function(tensor, ...)`` in float32 or float64, autocast switched off.

    Half-precision arguments are widened first. The result stays float32 under
    autocast, where the next layer casts for itself and the next matrix function
    needs the digits; without autocast it returns to the dtype of the first
    argument, since the weights that follow are then of that dtype.
    """

    @functools.wraps(function)
    def wrapper(x: Tensor, *args, **kwargs):
        device = x.device.type
        if autocast_enabled(device):
            with torch.autocast(device_type=device, enabled=False):
                return function(
                    _widen(x),
                    *[_widen(a) for a in args],
                    **{k: _widen(v) for k, v in kwargs.items()},
                )
        if x.dtype not in HALF:
            return function(x, *args, **kwargs)
        out = function(
            _widen(x),
            *[_widen(a) for a in args],
            **{k: _widen(v) for k, v in kwargs.items()},
        )
        return out.to(x.dtype)

    return wrapper


def full_precision_backward(backward):
    """Switch autocast off in the ``backward`` of an autograd function.

    It is on there if the caller of ``.backward()`` is still inside its context.
    """

    @functools.wraps(backward)
    def wrapper(ctx, grad):
        device = grad.device.type
        if autocast_enabled(device):
            with torch.autocast(device_type=device, enabled=False):
                return backward(ctx, grad)
        return backward(ctx, grad)

    return wrapper

"""Float32 arithmetic whatever the surrounding autocast says."""

import contextlib
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


def without_autocast(device_type: str):
    """Context in which autocast is off."""
    if autocast_enabled(device_type):
        return torch.autocast(device_type=device_type, enabled=False)
    return contextlib.nullcontext()


def _widen(value):
    if isinstance(value, Tensor) and value.dtype in HALF:
        return value.float()
    return value


def full_precision(function):
    """Run ``function(tensor, ...)`` in float32 or float64, autocast switched off.

    Half-precision arguments are widened first. The result stays float32 under
    autocast, where the next layer casts for itself and the next matrix function
    needs the digits. Without autocast it returns to the dtype of the first
    argument, since the weights that follow are then of that dtype.
    """

    @functools.wraps(function)
    def wrapper(x: Tensor, *args, **kwargs):
        device = x.device.type
        narrow = x.dtype in HALF and not autocast_enabled(device)
        with without_autocast(device):
            out = function(
                _widen(x),
                *[_widen(value) for value in args],
                **{name: _widen(value) for name, value in kwargs.items()},
            )
        return out.to(x.dtype) if narrow else out

    return wrapper

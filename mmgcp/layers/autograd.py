"""Float32 whatever autocast says, and when a layer uses its hand-written gradient."""

import contextlib
import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

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


# Before torch 2.6, torch.compile cannot read most autograd functions.
_COMPILES_FUNCTIONS = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)


def compiling() -> bool:
    """Whether torch.compile or torch.export is reading the code."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()


def recording() -> bool:
    """Whether a graph is recorded that has no place for an autograd function.

    True in ``torch.jit.trace``, which ONNX export and the FLOP counters of fvcore and
    mmengine use, and in torch.compile before torch 2.6.
    """
    return torch.jit.is_tracing() or (compiling() and not _COMPILES_FUNCTIONS)


def transforming() -> bool:
    """Whether a transform of torch.func is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def needs_plain(x: Tensor) -> bool:
    """Whether only plain, separately visible operations will do.

    True where :func:`recording`, inside the transforms of torch.func, and for
    forward-mode differentiation.
    """
    if recording() or compiling():
        return recording()
    if transforming():
        return True
    return (
        forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None
    )


def own_gradient(plain: Callable[..., Tensor] | None = None):
    """Decorate the ``backward`` of an autograd function with one tensor input.

    Autocast is off inside: it is on if the caller of ``.backward()`` is still in its
    context. A gradient that is to be differentiated again comes from
    ``plain(x, *ctx.arguments)``, the same function in plain operations, with ``x`` the
    first saved tensor. Without ``plain`` it is refused.
    """

    def decorate(backward):
        @functools.wraps(backward)
        def wrapper(ctx, grad):
            with without_autocast(grad.device.type):
                if compiling() or not torch.is_grad_enabled():
                    return backward(ctx, grad)
                if plain is None:
                    raise RuntimeError(
                        'exact matrix functions have no second derivative: use '
                        'NewtonSchulz, or differences of the gradient'
                    )
                x = ctx.saved_tensors[0]
                out = plain(x, *ctx.arguments)
                (found,) = torch.autograd.grad(out, x, grad, create_graph=True)
                return found, *[None] * len(ctx.arguments)

        return wrapper

    return decorate

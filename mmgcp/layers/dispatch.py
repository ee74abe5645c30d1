"""When the hand-written derivatives are used and when plain operations are."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def compiling() -> bool:
    """Whether torch.compile or torch.export is reading the code."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()


def _transforming() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp, ...) is at work."""
    peek = getattr(torch._C._functorch, 'peek_interpreter_stack', None)
    return peek is not None and peek() is not None


def needs_plain(x: Tensor) -> bool:
    """Whether only plain, separately visible operations will do.

    True while a graph is recorded by ``torch.jit.trace`` (which ONNX export and the
    FLOP counters of fvcore and mmengine use), inside torch.func transforms, and for
    forward-mode differentiation: none of them can look into a custom derivative.
    ``torch.utils.flop_counter`` sees every operation either way. Second derivatives
    need no switch: the custom derivatives fall back by themselves.
    """
    if torch.jit.is_tracing() or torch.jit.is_scripting():
        return True
    if compiling():
        return False
    return _transforming() or (
        forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None
    )

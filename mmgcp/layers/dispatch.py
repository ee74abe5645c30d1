"""When the hand-written derivatives are used and when plain operations are."""

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils import _python_dispatch

# Before that the reader of torch.compile stumbles over most autograd functions.
_COMPILES_FUNCTIONS = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 6)


def compiling() -> bool:
    """Whether torch.compile or torch.export is reading the code."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()


def _transforming() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp, ...) is at work."""
    peek = getattr(torch._C._functorch, 'peek_interpreter_stack', None)
    return peek is not None and peek() is not None


def observed() -> bool:
    """Whether a dispatch mode, such as torch's counter of FLOPs, sees every operation."""
    return _python_dispatch._get_current_dispatch_mode() is not None


def needs_plain(x: Tensor) -> bool:
    """Whether only plain, separately visible operations will do.

    True while a graph is recorded by ``torch.jit.trace`` (which ONNX export and the
    FLOP counters of fvcore and mmengine use), inside torch.func transforms, for
    forward-mode differentiation, and in torch.compile before torch 2.6: none of them
    can look into a custom derivative.
    ``torch.utils.flop_counter`` sees every operation either way. Second derivatives
    need no switch: the custom derivatives fall back by themselves.
    """
    if torch.jit.is_tracing() or torch.jit.is_scripting():
        return True
    if compiling():
        return not _COMPILES_FUNCTIONS
    return _transforming() or (
        forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None
    )


PATHS = ('auto', 'gram', 'covariance', 'plain')


def check_path(path: str, paths: tuple[str, ...] = PATHS) -> str:
    """Return ``path`` if it is one of ``paths``.

    Raises:
        ValueError: It is not.
    """
    if path not in paths:
        raise ValueError(f'path must be one of {paths}, got {path!r}')
    return path


def choose_path(path: str, x: Tensor) -> str:
    """Resolve ``'auto'`` for features ``(B, C, N)``.

    ``'plain'`` where :func:`needs_plain`; ``'gram'`` if ``N < 0.9 C``, below which the
    additional products with the features cost less than the smaller matrices save;
    otherwise ``'covariance'``. Any other ``path`` is returned as it is.

    Raises:
        ValueError: ``path`` is not one of :data:`PATHS`.
    """
    if check_path(path) != 'auto':
        return path
    if needs_plain(x):
        return 'plain'
    return 'gram' if x.size(2) < 0.9 * x.size(1) else 'covariance'

"""Reading checkpoints without running what is inside them."""

import argparse
import collections
import pathlib
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

from ..utils.errors import first_names
from .errors import CheckpointError, UntrustedCheckpointError

#: More than any model here has. A few stored bytes can stand for a huge tensor.
MAX_BYTES = 8 * 1024**3
SAFETENSORS = '.safetensors'


def _dtype(name: str, *flags: bool) -> np.dtype:
    """``numpy.dtype``, of numbers only: the state of others can corrupt memory."""
    dtype = np.dtype(name)
    if dtype.kind not in 'biufc':
        raise UntrustedCheckpointError(f'numpy.dtype({name!r})')
    return dtype


def _method(owner: type, name: str) -> Any:
    """``getattr``, by which old pickle protocols write methods of a class."""
    allowed = {
        HistoryBuffer: ('min', 'max', 'mean', 'current'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if not isinstance(owner, type) or name not in allowed.get(owner, ()):
        raise UntrustedCheckpointError(f'getattr({owner}, {name!r})')
    return getattr(owner, name)


#: What tensors, and the training state of mmengine, timm and scripts, consist of.
_ALLOWED = {
    (kind.__module__, kind.__qualname__): kind
    for kind in (
        *(set, frozenset, slice, complex, list, dict, int, float),
        *(collections.OrderedDict, collections.defaultdict, collections.Counter),
        *(torch.Size, torch.device, np.ndarray),
        torch._utils._rebuild_tensor,
        torch._utils._rebuild_tensor_v2,
        torch._utils._rebuild_parameter,
        *(HistoryBuffer, OneCycleParamScheduler, ConfigDict, argparse.Namespace),
    )
} | {
    ('numpy', 'dtype'): _dtype,
    ('numpy.core.multiarray', '_reconstruct'): np.empty(0).__reduce__()[0],
    ('numpy.core.multiarray', 'scalar'): np.float64(0).__reduce__()[0],
    ('pathlib', 'PosixPath'): pathlib.PurePosixPath,
    ('pathlib', 'WindowsPath'): pathlib.PureWindowsPath,
    # by which old pickle protocols write bytes
    ('_codecs', 'encode'): lambda text, encoding: text.encode('latin1'),
    ('builtins', 'getattr'): _method,
}


class _Unpickler(pickle.Unpickler):
    """Builds what is in the list above and refuses everything else by name."""

    def find_class(self, module: str, name: str) -> Any:
        # torch.save uses a protocol with the module names of Python 2
        module = module.replace('__builtin__', 'builtins')
        module = module.replace('numpy._core', 'numpy.core')
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == 'torch' and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise UntrustedCheckpointError(f'{module}.{name}')


_SAFE_PICKLE = SimpleNamespace(
    __name__=__name__,
    Unpickler=_Unpickler,
    UnpicklingError=pickle.UnpicklingError,
    load=lambda file, **kwargs: _Unpickler(file, **kwargs).load(),
)


def check_checkpoint(path: str | Path) -> None:
    """Refuse what ``torch.load`` would misread.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is no checkpoint, or it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    if not path.is_file():
        raise CheckpointError(f'{path} is not a regular file')
    with path.open('rb') as file:
        head = file.read(512).lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if not head:
        raise CheckpointError(f'{path} is empty: download it again')
    if head.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        raise CheckpointError(
            f'{path} is a web page, not weights: the server answered with a login, '
            'quota or confirmation page; download the file in a browser'
        )
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(f'{path} is a git-lfs pointer: run `git lfs pull`')
    if head.startswith(b'pk\x03\x04'):
        _check_zip(path)
    elif tarfile.is_tarfile(path):
        raise CheckpointError(f'{path} is a tar archive: unpack it first')


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            names = {name.rpartition('/')[2] for name in archive.namelist()}
            # torch.save does not compress
            bomb = unpacked > 10 * path.stat().st_size
            if not bomb and (changed := archive.testzip()):
                raise zipfile.BadZipFile(f'wrong checksum of {changed}')
    except Exception as error:
        raise CheckpointError(
            f'{path} is truncated or damaged, download or copy it again ({error})'
        ) from error
    if bomb:
        raise CheckpointError(
            f'{path} unpacks to {unpacked} bytes, more than ten times its size: it is '
            'a zip bomb, not a checkpoint'
        )
    if 'constants.pkl' in names:
        raise CheckpointError(f'{path} is TorchScript: save its state_dict() instead')
    if 'data.pkl' not in names:
        raise CheckpointError(
            f'{path} is a zip archive without a checkpoint: unpack it'
        )


def read_checkpoint(path: str | Path, trust: bool = False) -> Any:
    """Read a checkpoint to the CPU without running code from it.

    A file named ``.safetensors`` gives ``state_dict`` and, from its header, ``meta``.
    Plain weights are read with ``weights_only=True``. Training state beside them
    (mmengine's message hub, arrays of numpy, the arguments of timm) is read by an
    unpickler with a list of allowed types, so that a run can be resumed from it.
    ``trust`` builds every Python object, which runs code chosen by whoever wrote the
    file.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedCheckpointError: There is an object of another type in the file.
        CheckpointError: The file is not a readable checkpoint.
    """
    path = Path(path).expanduser()
    check_checkpoint(path)
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    try:
        if trust:
            return torch.load(path, map_location='cpu', weights_only=False)
        try:
            return torch.load(path, map_location='cpu', weights_only=True)
        except pickle.UnpicklingError:
            return torch.load(
                path, map_location='cpu', weights_only=False, pickle_module=_SAFE_PICKLE
            )
    except UntrustedCheckpointError as error:
        raise UntrustedCheckpointError(
            f'{path} needs more than tensors and training state: {error}. Building it '
            'can run any code. If you trust whoever wrote the file, use --trust, or '
            'convert it once with `tools/convert_checkpoint.py SRC DST --trust`'
        ) from None
    except Exception as error:
        raise CheckpointError(
            f'{path} cannot be read as a PyTorch checkpoint; it is truncated, damaged '
            f'or something else ({type(error).__name__}: {str(error)[:200]})'
        ) from error


def _read_safetensors(path: Path) -> dict[str, dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return {'state_dict': tensors, 'meta': dict(file.metadata() or {})}
    except SafetensorError as error:
        raise CheckpointError(
            f'{path}: its header does not describe a whole safetensors file ({error}): '
            'it is truncated, damaged or something else; download or copy it again'
        ) from error


def model_tensors(
    content: Any, source: str, ema: bool = False
) -> dict[str, torch.Tensor]:
    """The named tensors of a model, whatever wraps them.

    ``content`` holds them by name, or under ``state_dict`` or ``model``, with or
    without the prefix ``module.`` of ``DataParallel``. ``ema`` takes averaged weights.

    Raises:
        CheckpointError: There are no such tensors, or values are not finite.
    """
    keys = ['state_dict_ema', 'model_ema'] if ema else ['state_dict', 'model']
    if isinstance(content, Mapping):
        # mmengine swaps the two when it saves: the average has the plain name
        if 'ema_state_dict' in content:
            keys = ['state_dict']
        found = [key for key in keys if isinstance(content.get(key), Mapping)]
        if ema and not found:
            raise CheckpointError(
                f'{source}: no averaged weights (state_dict_ema or model_ema) in it, '
                f'found {first_names(map(str, content))}; leave out --ema'
            )
        content = content[found[0]] if found else content
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f'{source}: expected named tensors, found {type(content).__name__}'
            f'{" (empty)" if isinstance(content, Mapping) else ""}'
        )
    wrong = [
        str(name)
        for name, value in content.items()
        if not isinstance(name, str) or not isinstance(value, torch.Tensor)
    ]
    if wrong:
        raise CheckpointError(f'{source}: not tensors: {first_names(wrong)}')
    tensors = dict(content)
    while all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): t for name, t in tensors.items()}
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > MAX_BYTES:
        raise CheckpointError(
            f'{source}: its tensors take {size} bytes, more than the limit {MAX_BYTES}'
        )
    wrong = [name for name, t in tensors.items() if not torch.isfinite(t).all()]
    if wrong:
        raise CheckpointError(
            f'{source}: tensors with values that are not finite (NaN or infinity): '
            f'{first_names(wrong)}. Their training diverged; use an earlier checkpoint'
        )
    return tensors


def encoder_tensors(content: Any, source: str) -> dict[str, torch.Tensor]:
    """The tensors of the encoder alone, in a whole model those of ``backbone``."""
    tensors = model_tensors(content, source)
    prefix = 'backbone.'
    inside = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
    return inside or tensors

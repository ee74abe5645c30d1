"""Reading checkpoints without running what is inside them."""

import pickle
import tarfile
import zipfile
from _compat_pickle import IMPORT_MAPPING
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from .errors import CheckpointError, UntrustedCheckpointError, first_names

MAX_BYTES = 8 * 1024**3

_REBUILDERS = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch', 'Size'): torch.Size,
    ('torch', 'device'): torch.device,
    ('torch._utils', '_rebuild_tensor'): torch._utils._rebuild_tensor,
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    ('torch._utils', '_rebuild_parameter'): torch._utils._rebuild_parameter,
    ('torch.nn.parameter', 'Parameter'): torch.nn.Parameter,
    ('torch.serialization', '_get_layout'): torch.serialization._get_layout,
}

# Training state that mmengine, timm and plain PyTorch scripts write beside the
# weights. None of it is built: each becomes an inert stand-in.
_INERT = {
    ('argparse', 'Namespace'),
    ('builtins', 'getattr'),
    ('builtins', 'set'),
    ('builtins', 'slice'),
    ('collections', 'Counter'),
    ('collections', 'defaultdict'),
    ('mmengine.config.config', 'Config'),
    ('mmengine.config.config', 'ConfigDict'),
    ('mmengine.logging.history_buffer', 'HistoryBuffer'),
    ('numpy', 'dtype'),
    ('numpy', 'ndarray'),
    ('pathlib', 'Path'),
    ('pathlib', 'PosixPath'),
    ('_codecs', 'encode'),
}
_INERT_PREFIXES = ('numpy.core.multiarray', 'numpy._core.multiarray', 'numpy.dtypes')


class Opaque:
    """Stands for an object of a checkpoint that was not built."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass

    def __call__(self, *args, **kwargs):
        return self

    def append(self, item):
        pass

    def extend(self, items):
        pass

    def add(self, item):
        pass


def _restricted_pickle(foreign: set[str]) -> SimpleNamespace:
    """A stand-in for the module ``pickle`` that builds tensors and nothing else."""

    class RestrictedUnpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            # protocol 2, which torch.save uses, has the names of Python 2
            module = IMPORT_MAPPING.get(module, module)
            if (module, name) in _REBUILDERS:
                return _REBUILDERS[module, name]
            if module == 'torch' and isinstance(
                getattr(torch, name, None), torch.dtype
            ):
                return getattr(torch, name)
            inert = (module, name) in _INERT or module.startswith(_INERT_PREFIXES)
            if not inert:
                foreign.add(f'{module}.{name}')
            return Opaque

    def load(file, **kwargs):
        return RestrictedUnpickler(file, **kwargs).load()

    return SimpleNamespace(
        __name__='mmgcp.weights.reading',
        Unpickler=RestrictedUnpickler,
        UnpicklingError=pickle.UnpicklingError,
        load=load,
    )


def check_container(path: Path, max_bytes: int) -> None:
    """Refuse what ``torch.load`` would misread, before it touches the file."""
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    if not path.is_file():
        raise CheckpointError(f'{path} is not a regular file')
    size = path.stat().st_size
    if size == 0:
        raise CheckpointError(f'{path} is empty (0 bytes): download it again')
    if size > max_bytes:
        raise CheckpointError(
            f'{path} has {size} bytes, more than the limit of {max_bytes}; '
            'raise the limit (--max-size) if this is expected'
        )
    with path.open('rb') as file:
        head = file.read(512)
    text = head.lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        raise CheckpointError(
            f'{path} is a web page, not weights: the server answered with HTML '
            '(a login, quota or confirmation page); download the file in a browser'
        )
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(
            f'{path} is a git-lfs pointer, not weights: run `git lfs pull`'
        )
    if head.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ', b'7z\xbc\xaf', b'Rar!')):
        raise CheckpointError(f'{path} is a compressed archive: unpack it first')
    if head[:4] == b'PK\x03\x04':
        _check_zip(path, max_bytes)
    elif tarfile.is_tarfile(path):
        raise CheckpointError(
            f'{path} is a tar archive: unpack it and give the file inside'
        )


def _check_zip(path: Path, max_bytes: int) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f'{path} is truncated or damaged ({error}): download it again'
        ) from error
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max_bytes:
        raise CheckpointError(
            f'{path} unpacks to {unpacked} bytes, more than the limit of {max_bytes} '
            '(a zip bomb?); raise the limit (--max-size) if this is expected'
        )
    names = {entry.filename.rpartition('/')[2] for entry in entries}
    if 'constants.pkl' in names:
        raise CheckpointError(
            f'{path} is a TorchScript program, not a checkpoint: '
            'save its state_dict() instead'
        )
    if 'data.pkl' not in names:
        raise CheckpointError(
            f'{path} is a zip archive without a PyTorch checkpoint in it: '
            'unpack it and give the file inside'
        )


def read_checkpoint(
    path: str | Path, trust: bool = False, max_bytes: int = MAX_BYTES
) -> Any:
    """Read a checkpoint on the CPU without running code from it.

    Plain weights are read with ``weights_only=True``. Files with training state
    of mmengine, timm or numpy beside the weights are read by an unpickler that
    puts inert stand-ins in place of that state.

    Args:
        path: File written by ``torch.save``, in the zip or the legacy format.
        trust: Build every Python object of the file. This runs code chosen by
            whoever wrote the file.
        max_bytes: Largest size accepted, packed and unpacked.

    Returns:
        What was saved, with :class:`Opaque` objects where something was left out.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedCheckpointError: Objects of unknown classes are in the file. All
            of them are named.
        CheckpointError: The file is not a readable checkpoint.
    """
    path = Path(path).expanduser()
    check_container(path, max_bytes)
    if trust:
        return _load(path, weights_only=False)
    try:
        return _load(path, weights_only=True)
    except CheckpointError as error:
        if not isinstance(error.__cause__, pickle.UnpicklingError):
            raise
    foreign: set[str] = set()
    content = _load(path, weights_only=False, pickle_module=_restricted_pickle(foreign))
    if foreign:
        raise UntrustedCheckpointError(
            f'{path} needs more than tensors: {first_names(sorted(foreign))}. Building '
            'these objects can run any code. If you trust whoever wrote the file, '
            'convert it with `tools/convert_checkpoint.py SRC DST --trust`'
        )
    return content


def _load(path: Path, **kwargs) -> Any:
    try:
        return torch.load(path, map_location='cpu', **kwargs)
    except Exception as error:
        raise CheckpointError(
            f'{path} cannot be read as a PyTorch checkpoint; it is truncated, damaged '
            f'or something else ({type(error).__name__}: {str(error)[:200]})'
        ) from error


def tensors_of(
    content: Any, source: str, max_bytes: int = MAX_BYTES
) -> dict[str, torch.Tensor]:
    """Check that a mapping holds named tensors and nothing else.

    Raises:
        CheckpointError: It is no mapping, is empty, something in it is no tensor, or
            the tensors are larger than ``max_bytes``.
    """
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f'{source}: expected named tensors, found {type(content).__name__}'
            f'{" (empty)" if isinstance(content, Mapping) else ""}'
        )
    wrong = [str(k) for k, v in content.items() if not isinstance(v, torch.Tensor)]
    if wrong:
        raise CheckpointError(f'{source}: not tensors: {first_names(wrong)}')
    # a tensor may repeat a stored byte: a small file can stand for a huge tensor
    size = sum(tensor.numel() * tensor.element_size() for tensor in content.values())
    if size > max_bytes:
        raise CheckpointError(
            f'{source}: its tensors take {size} bytes, more than the limit of '
            f'{max_bytes}'
        )
    return dict(content)

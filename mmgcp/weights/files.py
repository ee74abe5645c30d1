"""Digests, atomic writes and downloads of checkpoints."""

import hashlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.dist import all_gather_object, get_rank

from mmgcp.utils.files import replacing

from .errors import CheckpointError
from .reading import MAX_BYTES

_CHUNK = 1 << 20


def file_sha256(path: str | Path) -> str:
    """Sha256 of a file, as ``sha256sum`` prints it."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tensor_sha256(tensor: torch.Tensor) -> str:
    """Sha256 of the type, shape and values of a tensor."""
    tensor = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f'{tensor.dtype} {tuple(tensor.shape)}\n'.encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensors_sha256(state_dict: Mapping[str, torch.Tensor]) -> str:
    """Sha256 of names, types, shapes and values, whatever the order and container."""
    lines = [f'{name} {tensor_sha256(state_dict[name])}\n' for name in state_dict]
    return hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()


def save_atomically(content, path: str | Path) -> Path:
    """``torch.save`` that leaves either the whole file or none."""
    path = Path(path).expanduser()
    # Into a file that is open: what fails to write it says why.
    with replacing(path) as part, open(part, 'wb') as file:
        torch.save(content, file)
    return path


def cache_folder() -> Path:
    """Where downloads are kept: ``$MMGCP_CACHE`` or beside those of ``torch.hub``."""
    folder = os.environ.get('MMGCP_CACHE')
    return Path(folder) if folder else Path(torch.hub.get_dir()) / 'mmgcp'


def check_sha256(path: Path, expected: str | None) -> str:
    """Return the digest of a file.

    Raises:
        CheckpointError: It does not start with ``expected`` (8 digits or more).
    """
    found = file_sha256(path)
    if expected is not None:
        pinned = str(expected).lower()
        if len(pinned) < 8 or not found.startswith(pinned):
            raise CheckpointError(
                f'{path}: sha256 is {found}, but sha256={expected!r} was asked for'
            )
    return found


def local_file(source: str | os.PathLike[str], sha256: str | None = None) -> Path:
    """Path on this machine of a checkpoint named by path, ``file://`` or http(s).

    A download happens once per machine: the first rank fetches it and the others
    wait. When it fails, it fails on every rank.

    Raises:
        CheckpointError: The scheme is unknown, the download failed or its sha256
            is not the pinned one.
    """
    source = os.fspath(source)
    parts = urllib.parse.urlsplit(source)
    if parts.scheme == 'file':
        if parts.netloc not in ('', 'localhost'):
            raise CheckpointError(f'{source}: write file:///path, not file://host/path')
        return Path(urllib.request.url2pathname(parts.path))
    if '://' not in source:
        return Path(source).expanduser()
    if parts.scheme not in ('http', 'https'):
        raise CheckpointError(
            f'{source}: unknown scheme {parts.scheme!r}; give a path, file://, '
            'http:// or https://'
        )
    name = Path(urllib.parse.unquote(parts.path)).name or 'checkpoint'
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    target = cache_folder() / f'{key}-{name}'
    failure = None
    hosts = all_gather_object(socket.gethostname())
    if hosts.index(socket.gethostname()) == get_rank():
        try:
            _fetch(source, target, sha256)
        except (CheckpointError, OSError) as error:
            failure = f'{source}: {error}'
    # the exchange of results is also what the other ranks wait for
    failures = [f for f in all_gather_object(failure) if f]
    if failures:
        raise CheckpointError(failures[0])
    return target


def _fetch(url: str, target: Path, sha256: str | None) -> None:
    if target.exists():
        if sha256 is None or file_sha256(target).startswith(sha256.lower()):
            return
        target.unlink()
    with replacing(target) as part:
        with open(part, 'wb') as file:
            _download(url, file)
        check_sha256(part, sha256)


def _download(url: str, file) -> None:
    from rich.progress import Progress

    request = urllib.request.Request(url, headers={'User-Agent': 'mmgcp'})
    with urllib.request.urlopen(request, timeout=60) as response, Progress() as bar:
        declared = response.headers.get('Content-Length')
        total = int(declared) if declared else None
        task = bar.add_task(Path(url).name, total=total)
        received = 0
        while chunk := response.read(_CHUNK):
            received += len(chunk)
            if received > MAX_BYTES:
                raise CheckpointError(f'more than {MAX_BYTES} bytes: not an encoder')
            file.write(chunk)
            bar.update(task, advance=len(chunk))
    if total is not None and received != total:
        raise CheckpointError(f'connection ended after {received} of {total} bytes')

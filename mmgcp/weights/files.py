"""Atomic writes and downloads of checkpoints."""

import hashlib
import io
import json
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.logging import print_log

from ..utils.files import file_sha256, replacing
from .errors import CheckpointError

HUB = 'hf-hub:'


def save_atomically(
    content: Any, path: str | Path, hash_name: bool = False
) -> tuple[Path, str]:
    """``torch.save`` that leaves either the whole file or none.

    A name in ``.safetensors`` writes ``state_dict``, with ``meta`` in the header.
    ``hash_name`` puts the first eight digits of the sha256 of the file into its name,
    as ``torch.hub`` expects it. Returns path and sha256.
    """
    path = Path(path).expanduser()
    if path.suffix == '.safetensors':
        data = _safetensors(content['state_dict'], content['meta'])
    else:
        buffer = io.BytesIO()
        torch.save(content, buffer)
        data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    if hash_name:
        path = path.with_name(f'{path.stem}-{digest[:8]}{path.suffix}')
    try:
        with replacing(path) as part:
            part.write_bytes(data)
    except OSError as error:
        raise CheckpointError(f'{path} cannot be written: {error.strerror}') from error
    return path, digest


def _safetensors(tensors: Mapping, meta: Mapping[str, str]) -> bytes:
    data = safetensors.torch.save(dict(tensors), dict(meta))
    # The library writes the metadata in random order: sorted, equal content has one
    # digest. Tensors start at a multiple of eight bytes.
    start = 8 + int.from_bytes(data[:8], 'little')
    header = json.dumps(json.loads(data[8:start]), sort_keys=True).encode()
    header += b' ' * (-len(header) % 8)
    return len(header).to_bytes(8, 'little') + header + data[start:]


def check_sha256(path: Path, expected: str | None) -> str:
    """Return the sha256 of a file, which has to start with ``expected``."""
    found = file_sha256(path)
    pinned = found if expected is None else str(expected).lower()
    if len(pinned) < 8 or not found.startswith(pinned):
        raise CheckpointError(
            f'{path}: sha256 is {found}, but sha256={expected!r} was asked for'
        )
    return found


def local_file(source: str | os.PathLike[str], sha256: str | None = None) -> Path:
    """Path on this machine of a checkpoint named by path, ``file://`` or http(s).

    Downloads are kept in ``$MMGCP_CACHE``, by default in the folder of ``torch.hub``.
    The first process of each machine downloads and the others wait. When it fails, it
    fails in every process with a CheckpointError.
    """
    source = os.fspath(source)
    if source.startswith(HUB):
        return _from_hub(source)
    if '://' not in source:
        return Path(source).expanduser()
    parts = urllib.parse.urlsplit(source)
    if parts.scheme == 'file' and parts.netloc in ('', 'localhost'):
        return Path(urllib.request.url2pathname(parts.path))
    if parts.scheme not in ('http', 'https'):
        raise CheckpointError(
            f'{source}: no such kind of address; give a path, file:///path, http:// or '
            'https://'
        )
    name = Path(urllib.parse.unquote(parts.path)).name or 'checkpoint'
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    folder = os.environ.get('MMGCP_CACHE') or Path(torch.hub.get_dir()) / 'mmgcp'
    target = Path(folder) / f'{key}-{name}'
    failure = None
    hosts = all_gather_object(socket.gethostname())
    if hosts.index(socket.gethostname()) == get_rank():
        try:
            cached = target.exists() and (
                sha256 is None or file_sha256(target).startswith(sha256.lower())
            )
            if not cached:
                _download(source, target, sha256)
        except (CheckpointError, OSError, HTTPException) as error:
            failure = f'{source}: {error}'
    # the exchange of results is also what the other processes wait for
    failures = [text for text in all_gather_object(failure) if text]
    if failures:
        raise CheckpointError(failures[0])
    return target


def _from_hub(source: str) -> Path:
    name = source.removeprefix(HUB)
    page = f'https://huggingface.co/{name}/resolve/main/model.safetensors'
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, 'model.safetensors'))
    except (ImportError, OSError, ValueError) as error:
        raise CheckpointError(
            f'{source} cannot be fetched from the hub ({str(error).splitlines()[0]}). '
            f'Download {page} where there is a network, and give its path'
        ) from error


def _download(url: str, target: Path, sha256: str | None) -> None:
    print_log(f'Downloading {url} to {target}', logger='current')
    request = urllib.request.Request(url, headers={'User-Agent': 'mmgcp'})
    with urllib.request.urlopen(request, timeout=60) as response:
        # raises IncompleteRead when the connection ends early
        content = response.read()
    with replacing(target) as part:
        part.write_bytes(content)
        check_sha256(part, sha256)

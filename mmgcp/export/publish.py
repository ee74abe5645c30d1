"""A checkpoint to give away: weights and where they come from, nothing else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmgcp.version import __version__
from mmgcp.weights.errors import CheckpointError
from mmgcp.weights.files import file_sha256, save_atomically, tensors_sha256
from mmgcp.weights.reading import read_checkpoint, tensors_of

from .errors import ExportError

WEIGHTS = 'state_dict'
AVERAGED = 'ema_state_dict'


@dataclass
class Published:
    """What was written.

    Attributes:
        path: The file; the first eight digits of ``sha256`` end its name.
        sha256: Digest of the names, types, shapes and values of the tensors.
        tensors: How many there are.
        dropped: What the source holds besides, in its own words.
        bytes_before: Size of the source.
        bytes_after: Size of the file.
        meta: Metadata in the file, strings all of it.
    """

    path: Path
    sha256: str
    tensors: int
    dropped: list[str]
    bytes_before: int
    bytes_after: int
    meta: dict[str, str]


def publish_checkpoint(
    src: str | Path,
    dst: str | Path | None = None,
    averaged: bool = False,
    trust: bool = False,
) -> Published:
    """Keep the tensors of a model and strings about them; drop the training state.

    The digest is that of the tensors and not of the file, so that it survives
    another version of torch. Any ``weights_only`` reader opens the result.

    Args:
        src: Checkpoint of a training run. It is never changed.
        dst: File to write, ``NAME.pth`` giving ``NAME-<8 digits>.pth``; beside the
            source by default.
        averaged: Take the exponential moving average that was trained along.
        trust: Build every Python object of the source.

    Raises:
        CheckpointError: The source cannot be read or has no weights.
        ExportError: ``dst`` is no name of a checkpoint, or there is no average.
    """
    src = Path(src).expanduser()
    dst = Path(dst).expanduser() if dst is not None else src
    if dst.suffix not in ('.pth', '.pt'):
        raise ExportError(f'{dst}: end the name in .pth')
    content = read_checkpoint(src, trust=trust)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f'{src}: expected a checkpoint, found no mapping in it')
    key = AVERAGED if averaged else WEIGHTS
    if averaged and key not in content:
        raise ExportError(
            f'{src}: no {AVERAGED!r} in it (found {", ".join(map(str, content))}); '
            'leave out --ema'
        )
    tensors = tensors_of(content.get(key, content), f'{src}')
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): t for name, t in tensors.items()}
    # a clone each: a view would bring along the storage that it is a part of
    tensors = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    bad = [n for n, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if bad:
        raise CheckpointError(
            f'{src}: {bad[0]} has values that are not finite ({len(bad)} tensors in '
            'all); such a model predicts nothing'
        )
    digest = tensors_sha256(tensors)
    meta = {
        **described(content.get('meta')),
        'source': src.name,
        'source_sha256': file_sha256(src),
        'sha256': digest,
        'weights': 'averaged' if averaged else 'last',
        'mmgcp_version': __version__,
    }
    path = dst.with_name(f'{dst.stem}-{digest[:8]}{dst.suffix}')
    save_atomically({'state_dict': tensors, 'meta': meta}, path)
    kept = {key, 'meta'} if key in content else set(content)
    return Published(
        path,
        digest,
        len(tensors),
        [str(name) for name in content if name not in kept],
        src.stat().st_size,
        path.stat().st_size,
        meta,
    )


def described(meta: Any) -> dict[str, str]:
    """What a run's metadata says that is worth keeping, as strings."""
    if not isinstance(meta, Mapping):
        return {}
    kept = {}
    for key in ('cfg', 'config', 'epoch', 'iter', 'mmengine_version', 'seed'):
        value = meta.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            kept[key] = str(value)
    dataset = meta.get('dataset_meta')
    if isinstance(dataset, Mapping) and isinstance(
        dataset.get('classes'), list | tuple
    ):
        kept['classes'] = json.dumps([str(name) for name in dataset['classes']])
    # strings that this package wrote before: layout, pooling head, normalisation
    for key, value in meta.items():
        if isinstance(value, str) and key not in (
            'time',
            'hook_msgs',
            'tensors_sha256',
        ):
            kept.setdefault(str(key), value)
    return kept

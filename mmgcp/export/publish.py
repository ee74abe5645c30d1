"""A checkpoint to give away: weights and where they come from, nothing else."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmgcp.utils.errors import UserError
from mmgcp.utils.files import file_sha256, write_text
from mmgcp.version import __version__
from mmgcp.weights.files import save_atomically
from mmgcp.weights.reading import SAFETENSORS, model_tensors, read_checkpoint

from .model_card import model_card


def publish_checkpoint(
    src: str | Path, dst: str | Path | None = None, trust: bool = False
) -> tuple[Path, dict[str, str]]:
    """Keep the tensors of a model and strings about them; drop the training state.

    Nothing in the result can run code. ``NAME.md`` beside it is its model card. A run
    with ``EMAHook`` stores its averaged weights as the weights of the model: these are
    kept.

    Args:
        src: Checkpoint of a training run. It is never changed.
        dst: File to write, ``NAME.safetensors`` or ``NAME.pth``; eight digits of its
            sha256 go into the name. By default safetensors, beside the source.
        trust: Build every Python object of the source.

    Returns:
        The file, and what to print of it: its ``card`` and ``sha256``, the number of
        ``tensors``, and what of the source was ``dropped``.
    """
    src = Path(src).expanduser()
    dst = Path(dst).expanduser() if dst is not None else src
    if dst == src:
        dst = src.with_suffix(SAFETENSORS)
    if dst.suffix not in (SAFETENSORS, '.pth', '.pt'):
        raise UserError(f'{dst}: end the name in .safetensors or .pth')
    content = read_checkpoint(src, trust=trust)
    # a clone each: a view would bring along the storage that it is a part of
    tensors = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in model_tensors(content, f'{src}').items()
    }
    meta = {
        **described(content.get('meta')),
        'source': src.name,
        'source_sha256': file_sha256(src),
        'weights': 'averaged' if 'ema_state_dict' in content else 'last',
        'mmgcp_version': __version__,
    }
    path, digest = save_atomically(
        {'state_dict': tensors, 'meta': meta}, dst, hash_name=True
    )
    card = path.with_suffix('.md')
    write_text(card, model_card(path.name, digest, meta))
    dropped = [
        str(name)
        for name in content
        if name not in ('state_dict', 'model', 'meta')
        and str(name).removeprefix('module.') not in tensors
    ]
    return path, {
        'card': str(card),
        'sha256': digest,
        'tensors': str(len(tensors)),
        'dropped': ', '.join(dropped) or 'nothing',
    }


def described(meta: Any) -> dict[str, str]:
    """What a run's metadata says that is worth keeping, as strings."""
    if not isinstance(meta, Mapping):
        return {}
    # strings, such as the config of a run and what this package wrote before
    left_out = ('time', 'hook_msgs', 'sha256', 'tensors_sha256')
    kept = {
        str(key): str(value)
        for key, value in meta.items()
        if (isinstance(value, str) and key not in left_out)
        or (isinstance(value, int) and key in ('epoch', 'iter', 'seed'))
    }
    dataset = meta.get('dataset_meta')
    classes = dataset.get('classes') if isinstance(dataset, Mapping) else None
    if isinstance(classes, list | tuple):
        kept['classes'] = json.dumps([str(name) for name in classes])
    return kept

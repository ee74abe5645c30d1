"""What a checkpoint tells about itself, and what goes into the converted file."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ..version import __version__
from .config_text import read_setting
from .files import file_sha256, tensor_sha256, tensors_sha256
from .layouts import Layout
from .report import KeyReport
from .specs import Architecture

IMAGENET_INPUT = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)


_OWN_KEYS = (
    'sha256',
    'tensors_sha256',
    'mean',
    'std',
    'to_rgb',
    'pooling_head',
    'last_stage',
    'normalization',
)


def declared_settings(content) -> dict[str, str]:
    """Metadata in a file of ours, or as far as a training config inside has it."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return {}
    settings = {key: meta[key] for key in _OWN_KEYS if isinstance(meta.get(key), str)}
    text = meta.get('cfg', meta.get('config'))
    if not isinstance(text, str):
        return settings
    model = _mapping(read_setting(text, 'model'))
    candidates = (
        read_setting(text, 'data_preprocessor'),
        model.get('data_preprocessor'),
        read_setting(text, 'img_norm_cfg'),
    )
    for values in map(_mapping, candidates):
        if values.get('mean') and values.get('std'):
            settings['mean'] = json.dumps(list(values['mean']))
            settings['std'] = json.dumps(list(values['std']))
            rgb = any(values.get(key, False) for key in ('to_rgb', 'bgr_to_rgb'))
            settings['to_rgb'] = json.dumps(rgb)
            break
    normalization = _mapping(_mapping(model.get('neck')).get('normalization'))
    if 'type' in normalization:
        settings['normalization'] = str(normalization['type'])
    if 'last_stage' in _mapping(model.get('backbone')):
        settings['last_stage'] = str(model['backbone']['last_stage'])
    return settings


def _mapping(value) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def pooling_head(
    tensors: Mapping, layout: Layout, settings: dict, report: KeyReport
) -> str:
    """Name of the pooling head an encoder was trained with, ``unknown`` if open."""
    if 'pooling_head' in settings:
        return settings['pooling_head']
    if 'neck.wr.weight' in tensors:
        dead = any('neck.wr.weight' in names for names in report.changed.values())
        return 'dropcov' if dead else 'mgcrp'
    if 'neck.reduction.conv.weight' not in tensors:
        # a detector does not tell what its encoder was pre-trained with
        return 'gap' if 'classifier' in layout.targets else 'unknown'
    if 'neck.dropout.importance.weight' in tensors:
        return 'dropcov'
    named = settings.get('normalization', '').rpartition('.')[2]
    known = {'NewtonSchulz': 'isqrt', 'MatrixPower': 'mpn'}
    default = 'gcp' if layout.name == 'mmpretrain' else 'isqrt'
    return layout.meta.get('pooling_head', known.get(named, named.lower() or default))


def describe(
    tensors: Mapping[str, torch.Tensor],
    src: Path,
    layout: Layout,
    settings: Mapping[str, str],
    architecture: Architecture | None,
) -> dict[str, str]:
    """Metadata of a converted file, strings only."""
    published = layout.published_input and {
        key: json.dumps(value) for key, value in IMAGENET_INPUT.items()
    }
    return {
        **layout.meta,
        **(published or {}),
        **settings,
        'layout': layout.name,
        'source': src.name,
        'source_sha256': file_sha256(src),
        'sha256': tensors_sha256(tensors),
        'tensors_sha256': json.dumps(
            {name: tensor_sha256(tensor)[:8] for name, tensor in tensors.items()}
        ),
        'architecture': architecture.name if architecture else 'not checked',
        'mmgcp_version': __version__,
    }

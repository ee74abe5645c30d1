"""Conversion of published checkpoints to the names of this package."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..version import __version__
from .config_text import read_setting
from .errors import CheckpointError, KeyMismatchError, first_names
from .files import file_sha256, save_atomically, tensor_sha256, tensors_sha256
from .layouts import LAYOUTS, Layout, detect_layout
from .layouts.deep_stem import to_mmpretrain
from .reading import MAX_BYTES, read_checkpoint, tensors_of
from .report import KeyReport
from .specs import Architecture, recognise
from .specs_heads import rest_shapes

TARGETS = ('encoder', 'classifier', 'detector')
IMAGENET_INPUT = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True
)


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote.

    Attributes:
        path: The file.
        report: Fate of every tensor.
        meta: Metadata in the file.
    """

    path: Path
    report: KeyReport
    meta: dict[str, str]


def state_dict_of(content, source: str, ema: bool = False) -> dict[str, torch.Tensor]:
    """The named tensors of a training checkpoint, without ``module.``.

    Args:
        content: What the file holds.
        source: Its name, for messages.
        ema: Take the exponential moving average that timm stores beside the weights.

    Raises:
        CheckpointError: There are no weights, or no average of them.
    """
    keys = ('state_dict_ema', 'model_ema') if ema else ('state_dict', 'model')
    if isinstance(content, Mapping):
        found = next((key for key in keys if key in content), None)
        if found is not None:
            content = content[found]
        elif ema:
            raise CheckpointError(
                f'{source}: no averaged weights (state_dict_ema or model_ema) in it, '
                f'found {first_names(map(str, content))}; leave out --ema'
            )
    tensors = tensors_of(content, source)
    while all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): t for name, t in tensors.items()}
    return tensors


def declared_settings(content) -> dict[str, str]:
    """Input normalisation and pooling head from the config inside a checkpoint."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    if not isinstance(meta, Mapping):
        return {}
    text = meta.get('cfg', meta.get('config'))
    settings: dict[str, str] = {}
    for key in ('mean', 'std', 'to_rgb', 'pooling_head'):
        if isinstance(meta.get(key), str):
            settings[key] = meta[key]
    if not isinstance(text, str):
        return settings
    model = read_setting(text, 'model') or {}
    values = (
        read_setting(text, 'data_preprocessor')
        or model.get('data_preprocessor')
        or read_setting(text, 'img_norm_cfg')
    )
    if values and 'mean' in values and 'std' in values:
        settings['mean'] = json.dumps(list(values['mean']))
        settings['std'] = json.dumps(list(values['std']))
        rgb = any(values.get(key, False) for key in ('to_rgb', 'bgr_to_rgb'))
        settings['to_rgb'] = json.dumps(rgb)
    normalization = (model.get('neck') or {}).get('normalization')
    if isinstance(normalization, Mapping):
        settings['normalization'] = str(normalization.get('type'))
    if (last_stage := (model.get('backbone') or {}).get('last_stage')) is not None:
        settings['last_stage'] = str(last_stage)
    return settings


def _pooling_head(
    tensors: Mapping, layout: Layout, settings: dict, report: KeyReport
) -> str:
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


def _check(tensors: dict, report: KeyReport, to: str) -> Architecture | None:
    """Hold the renamed tensors against the architecture that they belong to."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    encoder = {
        name.removeprefix('backbone.'): shape
        for name, shape in shapes.items()
        if name.startswith('backbone.')
    }
    architecture = recognise(encoder)
    if architecture is None:
        return None
    expected = {f'backbone.{n}': shape for n, shape in architecture.shapes.items()}
    if to != 'encoder':
        expected |= rest_shapes(shapes, architecture, to)
    counters = {name for name in expected if name.endswith('.num_batches_tracked')}
    if not counters & tensors.keys():
        for name in sorted(counters):
            tensors[name] = torch.zeros((), dtype=torch.long)
            report.add('counter older files lack, set to 0', name)
    report.missing += [name for name in expected if name not in tensors]
    for name, shape in shapes.items():
        if name not in expected:
            if to != 'encoder' or name.startswith('backbone.'):
                report.unexpected.append(name)
        elif shape != expected[name]:
            report.mismatched.append(f'{name} is {shape}, expected {expected[name]}')
    return architecture


def convert_checkpoint(
    src: str | Path,
    dst: str | Path,
    to: str = 'encoder',
    layout: str | None = None,
    ema: bool = False,
    trust: bool = False,
    hash_name: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Conversion:
    """Translate a checkpoint into plain tensors and string metadata.

    Args:
        src: The checkpoint. It is never changed.
        dst: File to write, at once or not at all.
        to: ``'encoder'`` writes bare backbone names, ``'classifier'`` a model of
            mmpretrain, ``'detector'`` a model of mmdet 3.x.
        layout: Name in :data:`mmgcp.weights.layouts.LAYOUTS`; None recognises it.
        ema: Take the averaged weights of a timm checkpoint.
        trust: Allow any Python object in the file, see :func:`read_checkpoint`.
        hash_name: Put eight digits of the tensors' sha256 into the name.
        max_bytes: Largest file to read.

    Returns:
        The path, the key report and the metadata.

    Raises:
        CheckpointError: The file cannot be read or its layout is unknown.
        KeyMismatchError: Tensors are missing, left over or of the wrong shape.
    """
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    if to not in TARGETS:
        raise ValueError(f'to={to!r} is none of {TARGETS}')
    if layout is not None and layout not in LAYOUTS:
        raise CheckpointError(f'layout {layout!r} is none of {", ".join(LAYOUTS)}')
    if src.resolve() == dst.resolve():
        raise CheckpointError(f'{dst} is the source itself, which is never changed')
    content = read_checkpoint(src, trust=trust, max_bytes=max_bytes)
    source = state_dict_of(content, str(src), ema)
    kind = LAYOUTS[layout] if layout else detect_layout(source)
    if to not in kind.targets:
        raise CheckpointError(
            f'{src} is a {kind.description}; it can be converted to '
            f'{" or ".join(kind.targets)}, not to a {to}'
        )
    tensors, report = kind.translate(source)
    settings = declared_settings(content)
    head = _pooling_head(tensors, kind, settings, report)
    channels = tensors.get('neck.reduction.conv.weight')
    if to == 'encoder':
        origin = {name: name for name in report.taken} | {
            new: old for old, new in report.renamed.items()
        }
        for name in [n for n in tensors if not n.startswith('backbone.')]:
            del tensors[name]
            old = origin.get(name, name)
            report.renamed.pop(old, None)
            if old in report.taken:
                report.taken.remove(old)
            report.drop(kind.rest, old)
            report.changed = {
                rule: [n for n in names if n != name]
                for rule, names in report.changed.items()
            }
        report.renamed = {
            old: new.removeprefix('backbone.') for old, new in report.renamed.items()
        }
    try:
        architecture = _check(tensors, report, to)
    except CheckpointError as error:
        raise KeyMismatchError(
            f'{src} (layout {kind.name}): {error}\n{report.text()}'
        ) from None
    if report.problems:
        raise KeyMismatchError(
            f'{src} (layout {kind.name}): {report.problems}\n{report.text()}'
        )
    if to == 'encoder':
        tensors = {name.removeprefix('backbone.'): t for name, t in tensors.items()}
    elif to == 'classifier':
        tensors = to_mmpretrain(tensors)
    if not tensors:
        raise KeyMismatchError(f'{src} (layout {kind.name}): no encoder in it')
    tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    if 'detector' not in kind.targets and kind.name not in (
        'mmpretrain',
        'mmdet',
        'mmseg',
    ):
        settings = {k: json.dumps(v) for k, v in IMAGENET_INPUT.items()} | settings
    digest = tensors_sha256(tensors)
    meta = {
        **kind.meta,
        **settings,
        'layout': kind.name,
        'target': to,
        'source': src.name,
        'source_sha256': file_sha256(src),
        'sha256': digest,
        'tensors_sha256': json.dumps(
            {n: tensor_sha256(t)[:8] for n, t in tensors.items()}
        ),
        'architecture': architecture.name if architecture else 'not checked',
        'pooling_head': head,
        'covariance_channels': str(len(channels) if channels is not None else 0),
        'mmgcp_version': __version__,
    }
    if hash_name:
        dst = dst.with_name(f'{dst.stem}-{digest[:8]}{dst.suffix}')
    path = save_atomically({'state_dict': tensors, 'meta': meta}, dst)
    return Conversion(path, report, meta)


def export_encoder(src: str | Path, dst: str | Path) -> Path:
    """Write the encoder of a classifier trained here, for ``PretrainedEncoder``.

    The same as ``tools/convert_checkpoint.py SRC DST --to encoder``.
    """
    return convert_checkpoint(src, dst, to='encoder').path

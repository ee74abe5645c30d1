"""Conversion of published checkpoints to the names of this package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .errors import CheckpointError, KeyMismatchError, first_names
from .files import save_atomically
from .layouts import LAYOUTS, detect_layout, list_layouts
from .layouts.deep_stem import to_mmpretrain
from .metadata import declared_settings, describe, pooling_head
from .reading import MAX_BYTES, read_checkpoint, tensors_of
from .report import KeyReport
from .specs import Architecture, recognise
from .specs_heads import rest_shapes

TARGETS = ('encoder', 'classifier', 'detector')


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

    def text(self, verbose: bool = False) -> str:
        """Report and metadata as printed."""
        lines = [self.report.text(verbose)]
        # a digest for each tensor is for machines
        shown = {k: v for k, v in self.meta.items() if k != 'tensors_sha256'}
        lines += [f'{key:24}{value}' for key, value in shown.items()]
        return '\n'.join(lines)


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
        elif ema and 'ema_state_dict' in content:
            # mmengine swaps the two when it saves: the average has the plain name
            content = content['state_dict']
        elif ema:
            raise CheckpointError(
                f'{source}: no averaged weights (state_dict_ema or model_ema) in it, '
                f'found {first_names(map(str, content))}; leave out --ema'
            )
    tensors = tensors_of(content, source)
    while all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): t for name, t in tensors.items()}
    return tensors


def _leave_rest(tensors: dict, report: KeyReport, rule: str) -> None:
    """Drop all but the encoder, and say so in the report."""
    origin = {new: old for old, new in report.renamed.items()}
    for name in [name for name in tensors if not name.startswith('backbone.')]:
        del tensors[name]
        old = origin.get(name, name)
        if report.renamed.pop(old, None) is None:
            report.taken.remove(old)
        report.drop(rule, old)
    report.changed = {
        rule: kept
        for rule, names in report.changed.items()
        if (kept := [name for name in names if name in tensors])
    }
    report.renamed = {
        old: new.removeprefix('backbone.') for old, new in report.renamed.items()
    }


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
        raise CheckpointError(
            f'--layout {layout} is none of the layouts:\n{list_layouts()}'
        )
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
    settings['pooling_head'] = pooling_head(tensors, kind, settings, report)
    reduction = tensors.get('neck.reduction.conv.weight')
    settings['covariance_channels'] = str(0 if reduction is None else len(reduction))
    settings['target'] = to
    if to == 'encoder':
        _leave_rest(tensors, report, kind.rest)
    try:
        architecture = _check(tensors, report, to)
        problems = report.problems
    except CheckpointError as error:
        problems = str(error)
    if problems:
        raise KeyMismatchError(
            f'{src} (layout {kind.name}): {problems}\n{report.text()}'
        )
    if to == 'encoder':
        tensors = {name.removeprefix('backbone.'): t for name, t in tensors.items()}
    elif to == 'classifier':
        tensors = to_mmpretrain(tensors)
    if not tensors:
        raise KeyMismatchError(f'{src} (layout {kind.name}): no encoder in it')
    # a slice or a view would be saved with all of what it is a part of
    tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    meta = describe(tensors, src, kind, settings, architecture)
    if hash_name:
        dst = dst.with_name(f'{dst.stem}-{meta["sha256"][:8]}{dst.suffix}')
    path = save_atomically({'state_dict': tensors, 'meta': meta}, dst)
    return Conversion(path, report, meta)


def export_encoder(src: str | Path, dst: str | Path) -> Path:
    """Write the encoder of a classifier trained here, for ``PretrainedEncoder``.

    The same as ``tools/convert_checkpoint.py SRC DST --to encoder``.
    """
    return convert_checkpoint(src, dst, to='encoder').path

"""Conversion of published checkpoints to the names of this package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..utils.files import file_sha256
from ..version import __version__
from .architectures import model_shapes, recognize
from .deep_stem import names_of_mmpretrain
from .errors import CheckpointError, KeyMismatchError
from .files import save_atomically
from .layouts import KeyReport, Layout, detect_layout
from .metadata import declared_settings
from .reading import model_tensors, read_checkpoint


@dataclass(frozen=True)
class Conversion:
    """What a conversion wrote: the file, its digest and metadata, and the report."""

    path: Path
    sha256: str
    report: KeyReport
    meta: dict[str, str]

    def text(self, verbose: bool = False) -> str:
        """Report, metadata and digest as printed."""
        values = {**self.meta, 'sha256': self.sha256}
        lines = [f'{key:24}{value}' for key, value in values.items()]
        return '\n'.join([self.report.text(verbose), *lines])


def convert_checkpoint(
    src: str | Path,
    dst: str | Path,
    to: str = 'encoder',
    ema: bool = False,
    trust: bool = False,
    hash_name: bool = False,
) -> Conversion:
    """Translate a checkpoint into plain tensors and string metadata.

    Args:
        src: The checkpoint. It is never changed.
        dst: File to write, in ``.safetensors`` or as ``torch.save`` does.
        to: ``'encoder'`` writes bare backbone names, ``'classifier'`` a model of
            mmpretrain, ``'detector'`` a model of mmdet 3.x.
        ema: Take the averaged weights of a timm checkpoint.
        trust: Allow any Python object in the file, see :func:`read_checkpoint`.
        hash_name: Put eight digits of the sha256 of the file into its name.

    Raises:
        CheckpointError: The file cannot be read, its layout is unknown, or values in
            it are not finite.
        KeyMismatchError: Tensors are missing, left over or of the wrong shape.
    """
    src, dst = Path(src).expanduser(), Path(dst).expanduser()
    if src.resolve() == dst.resolve():
        raise CheckpointError(f'{dst} is the source itself, which is never changed')
    content = read_checkpoint(src, trust=trust)
    source = model_tensors(content, str(src), ema)
    layout = detect_layout(source, str(src))
    if to not in layout.targets:
        raise CheckpointError(
            f'{src} is a {layout.description}; it can be converted to '
            f'{" or ".join(layout.targets)}, not to a {to}'
        )
    tensors, report = layout.translate(source)
    settings = declared_settings(content)
    head = _pooling_head(tensors, layout, settings, report)
    settings.setdefault('pooling_head', head)
    reduction = tensors.get('neck.reduction.conv.weight', ())
    settings['covariance_channels'] = str(len(reduction))
    if to == 'encoder':
        _drop_rest(tensors, report)
    try:
        architecture = _check(tensors, report, to)
        problems = report.problems
    except CheckpointError as error:
        problems = str(error)
    if problems:
        raise KeyMismatchError(
            f'{src} (layout {layout.name}): {problems}\n{report.text()}'
        )
    names = names_of_mmpretrain(tensors) if to == 'classifier' else {}
    if to == 'encoder':
        names = {name: name.removeprefix('backbone.') for name in tensors}
    # a slice or a view would be saved with all of what it is a part of
    tensors = {
        names.get(n, n): t.detach().clone(memory_format=torch.contiguous_format)
        for n, t in tensors.items()
    }
    meta = {
        **layout.meta,
        **settings,
        'target': to,
        'layout': layout.name,
        'source': src.name,
        'source_sha256': file_sha256(src),
        'architecture': architecture,
        'mmgcp_version': __version__,
    }
    path, sha256 = save_atomically(
        {'state_dict': tensors, 'meta': meta}, dst, hash_name=hash_name
    )
    return Conversion(path, sha256, report, meta)


def _drop_rest(tensors: dict[str, torch.Tensor], report: KeyReport) -> None:
    """Drop all but the encoder, and say so in the report."""
    for old, new in list(report.kept.items()):
        if not new.startswith('backbone.'):
            del tensors[new], report.kept[old]
            report.dropped.append(old)
    report.changed.clear()


def _check(tensors: dict[str, torch.Tensor], report: KeyReport, to: str) -> str:
    """Hold the renamed tensors against the network they belong to; return its name."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    found = recognize(shapes)
    if found is None:
        return 'not checked'
    architecture, config = found
    expected = model_shapes(config, shapes, to)
    counters = {name for name in expected if name.endswith('.num_batches_tracked')}
    if not counters & tensors.keys():
        for name in sorted(counters):
            tensors[name] = torch.zeros((), dtype=torch.long)
            report.added.append(name)
    report.missing += [name for name in expected if name not in tensors]
    for name, shape in shapes.items():
        if name not in expected:
            report.unexpected.append(name)
        elif shape != expected[name]:
            report.mismatched.append(f'{name} is {shape}, expected {expected[name]}')
    return architecture


def _pooling_head(
    tensors: Mapping, layout: Layout, settings: Mapping, report: KeyReport
) -> str:
    """Name of the pooling head an encoder was trained with, ``unknown`` if open."""
    if 'neck.wr.weight' in tensors:
        # the third group of the projection was cut
        return 'dropcov' if report.changed else 'mgcrp'
    if 'neck.reduction.conv.weight' not in tensors:
        # a detector does not tell what its encoder was pre-trained with
        return 'gap' if 'classifier' in layout.targets else 'unknown'
    if 'neck.dropout.importance.weight' in tensors:
        return 'dropcov'
    if layout.name != 'mmpretrain':
        return 'isqrt'
    named = settings.get('normalization', 'gcp').rpartition('.')[2]
    known = {'NewtonSchulz': 'isqrt', 'MatrixPower': 'mpn'}
    return known.get(named, named.lower())

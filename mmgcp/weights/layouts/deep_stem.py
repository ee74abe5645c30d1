"""ResNets with a deep stem or averaging shortcuts, which mmpretrain names otherwise.

mmdet and mmseg, where encoders are used, number all layers of the stem
(``stem.3.weight``) and always put a pooling layer first into a shortcut. mmpretrain
numbers blocks (``stem.1.conv.weight``) and pools only where the stride is 2. Inside
this package such tensors have the names of mmdet.
"""

import re
from collections.abc import Collection

from ..report import KeyReport
from .base import Tensors

_STEM = re.compile(r'((?:backbone\.)?)stem\.([012])\.(conv|bn)\.(\w+)')
_STEM_FLAT = re.compile(r'((?:backbone\.)?)stem\.([013467])\.(\w+)')
_SHORTCUT = re.compile(r'((?:backbone\.)?)layer1\.0\.downsample\.([012])\.(\w+)')


def _pools(tensors: Tensors) -> bool:
    return any('layer2.0.downsample.2.' in name for name in tensors)


def fit_stem(tensors: Tensors, wanted: Collection[str]) -> Tensors:
    """Give bare encoder tensors the stem names of the framework that wants them."""
    if 'stem.0.weight' in tensors and 'stem.0.conv.weight' in wanted:
        return to_mmpretrain(tensors)
    if 'stem.0.conv.weight' in tensors and 'stem.0.weight' in wanted:
        return from_mmpretrain(tensors, KeyReport())
    return tensors


def from_mmpretrain(tensors: Tensors, report: KeyReport) -> Tensors:
    """Rename the stem and the first shortcut from mmpretrain's names to mmdet's."""
    first = 'layer1.0.downsample.0.weight'
    shifted = _pools(tensors) and (first in tensors or f'backbone.{first}' in tensors)
    result: Tensors = {}
    for name, tensor in tensors.items():
        new = name
        if match := _STEM.fullmatch(name):
            place = 3 * int(match[2]) + (match[3] == 'bn')
            new = f'{match[1]}stem.{place}.{match[4]}'
        elif shifted and (match := _SHORTCUT.fullmatch(name)):
            new = f'{match[1]}layer1.0.downsample.{int(match[2]) + 1}.{match[3]}'
        if new != name and name in report.taken:
            report.taken.remove(name)
            report.renamed[name] = new
        result[new] = tensor
    return result


def to_mmpretrain(tensors: Tensors) -> Tensors:
    """The opposite of :func:`from_mmpretrain`."""
    pools = _pools(tensors)
    result: Tensors = {}
    for name, tensor in tensors.items():
        new = name
        if match := _STEM_FLAT.fullmatch(name):
            block, place = divmod(int(match[2]), 3)
            new = f'{match[1]}stem.{block}.{("conv", "bn")[place]}.{match[3]}'
        elif pools and (match := _SHORTCUT.fullmatch(name)):
            new = f'{match[1]}layer1.0.downsample.{int(match[2]) - 1}.{match[3]}'
        result[new] = tensor
    return result

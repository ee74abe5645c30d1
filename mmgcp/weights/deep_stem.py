"""ResNets with a deep stem or averaging shortcuts, which mmpretrain names otherwise.

mmdet and mmseg number all layers of the stem (``stem.3.weight``) and put a pooling
layer first into every shortcut. mmpretrain numbers blocks (``stem.1.conv.weight``) and
pools only where the stride is 2. Inside this package such tensors have mmdet's names.
"""

from collections.abc import Collection, Mapping
from typing import Any

_STEM = {
    f'stem.{block}.{part}.': f'stem.{3 * block + place}.'
    for block in range(3)
    for place, part in enumerate(('conv', 'bn'))
}
_SHORTCUT = {
    f'layer1.0.downsample.{i}.': f'layer1.0.downsample.{i + 1}.' for i in (0, 1)
}


def _renamed(names: Collection[str], prefixes: Mapping[str, str]) -> dict[str, str]:
    result = {}
    for name in names:
        bare = name.removeprefix('backbone.')
        old = next((prefix for prefix in prefixes if bare.startswith(prefix)), '')
        new = prefixes.get(old, '') + bare.removeprefix(old)
        result[name] = name.removesuffix(bare) + new
    return result


def _has(names: Collection[str], layer: str) -> bool:
    return any(layer in name for name in names)


def names_of_mmdet(names: Collection[str]) -> dict[str, str]:
    """New name of every tensor of mmpretrain, the same name for all others."""
    pools = _has(names, 'layer2.0.downsample.2.')
    shifted = pools and _has(names, 'layer1.0.downsample.0.')
    return _renamed(names, _STEM | _SHORTCUT if shifted else _STEM)


def names_of_mmpretrain(names: Collection[str]) -> dict[str, str]:
    """The opposite of :func:`names_of_mmdet`."""
    pools = _has(names, 'layer2.0.downsample.2.')
    prefixes = _STEM | _SHORTCUT if pools else _STEM
    return _renamed(names, {new: old for old, new in prefixes.items()})


def fitting_names(tensors: Mapping[str, Any], encoder: Any) -> dict:
    """Give encoder tensors the names of the framework or library of an encoder."""
    if hasattr(encoder, 'own_names'):  # of another library
        return encoder.own_names(tensors)
    wanted = encoder.state_dict()
    choices = (
        {name: name for name in tensors},
        names_of_mmdet(tensors),
        names_of_mmpretrain(tensors),
    )
    names = max(choices, key=lambda new: len(set(new.values()).intersection(wanted)))
    return {names[name]: tensor for name, tensor in tensors.items()}

"""The layouts that published checkpoints come in."""

from collections.abc import Collection

from ...utils.errors import first_names
from ..errors import CheckpointError
from . import openmmlab, published
from .base import KeyReport, Layout

LAYOUTS = (*published.LAYOUTS, *openmmlab.LAYOUTS)


def detect_layout(names: Collection[str], source: str) -> Layout:
    """The first layout whose signs are among the names of the tensors."""
    for layout in LAYOUTS:
        if layout.matches(names):
            return layout
    known = ''.join(f'\n  {x.name:24}{x.description}' for x in LAYOUTS)
    raise CheckpointError(
        f'{source}: no known layout has such names. It has {len(names)} tensors: '
        f'{first_names(names)}. Layouts that are known:{known}'
    )


__all__ = ['LAYOUTS', 'KeyReport', 'Layout', 'detect_layout']

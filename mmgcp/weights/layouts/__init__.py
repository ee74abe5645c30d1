"""The layouts that published checkpoints come in."""

from collections.abc import Collection

from ..errors import CheckpointError, first_names
from . import mobile, openmmlab, resnet, tokens
from .base import KeyReport, Layout

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        *resnet.LAYOUTS,
        *mobile.LAYOUTS,
        *tokens.LAYOUTS,
        *openmmlab.LAYOUTS,
    )
}


def detect_layout(names: Collection[str], source: str) -> Layout:
    """Recognize a layout from the names of the tensors.

    Raises:
        CheckpointError: No layout fits, or more than one does.
    """
    fitting = [layout for layout in LAYOUTS.values() if layout.matches(names)]
    if len(fitting) == 1:
        return fitting[0]
    found = ' and '.join(layout.name for layout in fitting) or 'no known layout'
    known = ''.join(f'\n  {x.name:24}{x.description}' for x in LAYOUTS.values())
    raise CheckpointError(
        f'{source}: {found} has such names. It has {len(names)} tensors: '
        f'{first_names(names)}. Layouts that are known:{known}'
    )


__all__ = ['LAYOUTS', 'KeyReport', 'Layout', 'detect_layout']

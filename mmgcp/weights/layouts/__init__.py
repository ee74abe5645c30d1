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


def list_layouts() -> str:
    """Names and descriptions, one layout per line."""
    return '\n'.join(f'  {x.name:24}{x.description}' for x in LAYOUTS.values())


def detect_layout(names: Collection[str]) -> Layout:
    """Recognize a layout from the names of the tensors alone.

    Raises:
        CheckpointError: No layout, or more than one, fits.
    """
    fitting = [layout for layout in LAYOUTS.values() if layout.matches(names)]
    if len(fitting) == 1:
        return fitting[0]
    found = (
        f'the names fit {", ".join(layout.name for layout in fitting)}; choose one'
        if fitting
        else 'no known layout has such names'
    )
    raise CheckpointError(
        f'{found}. The file has {len(names)} tensors: {first_names(names)}. '
        f'Layouts for --layout:\n{list_layouts()}'
    )


__all__ = ['LAYOUTS', 'KeyReport', 'Layout', 'detect_layout', 'list_layouts']

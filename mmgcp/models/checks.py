"""Encoders held against the necks and heads around them."""

import sys
from types import FrameType
from typing import Any

from torch import nn

# Necks that take exactly as many levels as the encoder returns.
ALL_LEVELS = ('FPN', 'PAFPN', 'SecondOrderAttention', 'AdaptiveChannelDropout')


class WiringError(ValueError):
    """A neck or head does not take what the encoder returns."""


def check_wiring(model: nn.Module) -> None:
    """Hold the channels an encoder returns against what follows it.

    Args:
        model (nn.Module): A model with a ``backbone`` of this package. Necks and
            decode heads that declare ``in_channels`` are checked, others are not.

    Raises:
        WiringError: Both sides, and the value to set.
    """
    returned = getattr(getattr(model, 'backbone', None), 'out_channels', None)
    if not isinstance(returned, tuple):
        return
    returned = list(returned)
    neck = getattr(model, 'neck', None)
    if neck is not None:
        chained = isinstance(neck, nn.Sequential)
        neck = neck[0] if chained else neck
        expected = getattr(neck, 'in_channels', None)
        if isinstance(expected, list | tuple) and _differs(neck, expected, returned):
            raise _wiring_error(f'neck{"[0]" * chained}', list(expected), returned)
        if isinstance(expected, int) and expected != returned[-1]:
            raise _wiring_error('neck', expected, returned[-1])
        return
    for name in ('decode_head', 'auxiliary_head'):
        heads: Any = getattr(model, name, None)
        chained = isinstance(heads, nn.ModuleList)
        for i, head in enumerate(heads if chained else [heads]):
            _check_head(f'{name}[{i}]' if chained else name, head, returned)


def _differs(neck: nn.Module, expected: Any, returned: list[int]) -> bool:
    if len(expected) != len(returned):
        # Others, such as SSD's, may leave levels out.
        return type(neck).__name__ in ALL_LEVELS
    # YOLO's neck lists them from the last one on.
    return sorted(expected) != sorted(returned)


def _check_head(name: str, head: nn.Module | None, returned: list[int]) -> None:
    index = getattr(head, 'in_index', None)
    expected = getattr(head, 'in_channels', None)
    if index is None or expected is None:
        return
    several = isinstance(index, list | tuple)
    indices = list(index) if several else [index]
    number = len(returned)
    if any(not -number <= i < number for i in indices):
        raise WiringError(
            f'{name}.in_index={index} asks for more than the {number} levels that '
            f'the encoder returns: set backbone.out_indices or {name}.in_index'
        )
    found = [returned[i] for i in indices]
    if getattr(head, 'input_transform', None) == 'resize_concat':
        expected, found = [expected], [sum(found)]
    elif not several:
        expected = [expected]
    if list(expected) != found:
        raise _wiring_error(name, expected, found if several else found[0])


def _wiring_error(name: str, expected: Any, found: Any) -> WiringError:
    return WiringError(
        f'{name}.in_channels={expected}, but the encoder returns {found}: set '
        f'{name}.in_channels={found}'
    )


def check_wiring_around(encoder: nn.Module) -> None:
    """Check the model whose ``init_weights`` is initialising an encoder.

    An encoder does not know what it is part of. In a project of somebody else
    nothing of this package runs but the encoder, so it looks up the call stack
    once, before training begins, rather than let the first convolution of the neck
    fail on a shape.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        model = frame.f_locals.get('self')
        if isinstance(model, nn.Module) and model is not encoder:
            if getattr(model, 'backbone', None) is encoder:
                check_wiring(model)
            return
        frame = frame.f_back

"""The channels of an encoder beside those that necks and heads expect."""

from typing import Any

from torch import nn

from mmgcp.utils.errors import UserError

# Necks that take exactly as many levels as the encoder returns. Others, such as that of
# SSD, may leave levels out.
ALL_LEVELS = ('FPN', 'PAFPN', 'SecondOrderAttention', 'AdaptiveChannelDropout')


class WiringError(UserError):
    """A neck or head does not take what the encoder returns."""


def check_wiring(model: nn.Module) -> None:
    """Compare the channels that an encoder of this package returns with what follows.

    Necks, classifiers and decode heads that declare ``in_channels`` are compared. Other
    models pass.

    Raises:
        WiringError: They differ. The message has both sides and the value to set.
    """
    returned = getattr(getattr(model, 'backbone', None), 'out_channels', None)
    if not isinstance(returned, tuple):
        return
    returned = list(returned)
    neck = getattr(model, 'neck', None)
    if neck is not None:
        chained = isinstance(neck, nn.Sequential)
        name, first = ('neck[0]', neck[0]) if chained else ('neck', neck)
        _check_neck(name, first, returned)
        _check_classifier(neck, getattr(model, 'head', None), returned[-1])
        return
    for name in ('decode_head', 'auxiliary_head'):
        heads: Any = getattr(model, name, None)
        chained = isinstance(heads, nn.ModuleList)
        for i, head in enumerate(heads if chained else [heads]):
            _check_head(f'{name}[{i}]' if chained else name, head, returned)


def _check_neck(name: str, neck: nn.Module, returned: list[int]) -> None:
    expected = getattr(neck, 'in_channels', None)
    if isinstance(expected, int):
        _compare(name, expected, returned[-1])
    elif isinstance(expected, list | tuple):
        same_length = len(expected) == len(returned)
        # The neck of YOLO lists the levels from the last one on.
        same = sorted(expected) == sorted(returned)
        if type(neck).__name__ in ALL_LEVELS or (same_length and not same):
            _compare(name, list(expected), returned)


def _check_classifier(neck: nn.Module, head: nn.Module | None, last: int) -> None:
    averages = type(neck).__name__ == 'GlobalAveragePooling'
    width = last if averages else getattr(neck, 'out_channels', None)
    expected = getattr(head, 'in_channels', None)
    if isinstance(width, int) and isinstance(expected, int):
        _compare('head', expected, width, 'neck')


def _check_head(name: str, head: nn.Module | None, returned: list[int]) -> None:
    index = getattr(head, 'in_index', None)
    expected: Any = getattr(head, 'in_channels', None)
    if index is None or expected is None:
        return
    number = len(returned)
    indices = list(index) if isinstance(index, list | tuple) else [index]
    if any(not -number <= i < number for i in indices):
        raise WiringError(
            f'{name}.in_index={index} asks for more than the {number} levels that '
            f'the encoder returns: set backbone.out_indices or {name}.in_index'
        )
    found = [returned[i] for i in indices]
    if getattr(head, 'input_transform', None) == 'resize_concat':
        # The head has added up the channels that its config lists.
        if expected != sum(found):
            raise WiringError(
                f'{name}.in_channels adds up to {expected}, but the encoder returns '
                f'{found}: set {name}.in_channels={found}'
            )
    elif isinstance(expected, list | tuple):
        _compare(name, list(expected), found)
    else:
        _compare(name, expected, found[0])


def _compare(
    name: str,
    expected: int | list[int],
    found: int | list[int],
    source: str = 'encoder',
) -> None:
    if expected != found:
        raise WiringError(
            f'{name}.in_channels={expected}, but the {source} returns {found}: set '
            f'{name}.in_channels={found}'
        )

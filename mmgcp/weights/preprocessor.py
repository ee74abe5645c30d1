"""Does the model feed its encoder what the encoder was trained on?"""

import json
import logging
import sys
from collections.abc import Mapping
from types import FrameType

import torch
from mmengine.logging import print_log
from torch import nn

from .errors import CheckpointError


def declared_input(meta: Mapping[str, str]) -> dict | None:
    """Input normalisation that an encoder file declares, None where it does not.

    Raises:
        CheckpointError: It does so in another form than JSON.
    """
    if not all(key in meta for key in ('mean', 'std', 'to_rgb')):
        return None
    try:
        return {key: json.loads(meta[key]) for key in ('mean', 'std', 'to_rgb')}
    except json.JSONDecodeError as error:
        raise CheckpointError(
            f'the metadata mean, std and to_rgb of an encoder file are not JSON: {error}'
        ) from error


def preprocessor_input(preprocessor: nn.Module) -> dict:
    """Input normalisation of a data preprocessor of any of the frameworks."""
    values: dict = {}
    for key in ('mean', 'std'):
        value = getattr(preprocessor, key, None)
        values[key] = (
            None
            if value is None
            else [round(v, 4) for v in torch.as_tensor(value).flatten().tolist()]
        )
    # mmpretrain's attribute; mmdet's and mmengine's; mmseg's
    names = ('to_rgb', '_channel_conversion', 'channel_conversion')
    values['to_rgb'] = any(bool(getattr(preprocessor, name, False)) for name in names)
    return values


def check_preprocessor(preprocessor: nn.Module, meta: Mapping[str, str]) -> bool:
    """Warn, printing both sides, when an encoder expects another normalisation.

    Args:
        preprocessor: The ``data_preprocessor`` of the model.
        meta: Metadata of the encoder file.

    Returns:
        False when they differ, True when they agree or nothing is declared.
    """
    declared = declared_input(meta)
    if declared is None:
        return True
    found = preprocessor_input(preprocessor)
    same = declared['to_rgb'] == found['to_rgb'] and all(
        found[key] is not None
        and len(found[key]) == len(declared[key])
        and all(
            abs(a - b) <= 1e-2 for a, b in zip(found[key], declared[key], strict=True)
        )
        for key in ('mean', 'std')
    )
    if not same:
        print_log(
            'The encoder was trained on another input normalisation than this model '
            f'gives it. Encoder: {_text(declared)}. Data preprocessor: {_text(found)}. '
            'Set model.data_preprocessor to the values of the encoder.',
            logger='current',
            level=logging.WARNING,
        )
    return same


def _text(values: Mapping) -> str:
    return ', '.join(f'{key}={values[key]}' for key in ('mean', 'std', 'to_rgb'))


def preprocessor_around(module: nn.Module) -> nn.Module | None:
    """The data preprocessor of the model whose ``init_weights`` is running.

    mmengine gives a weight initialiser the sub-module alone, and modules do not
    know their parents. The models that contain it are, however, on the call stack,
    since ``init_weights`` goes from the model down to its children.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get('self')
        if isinstance(owner, nn.Module) and owner is not module:
            preprocessor = getattr(owner, 'data_preprocessor', None)
            inside = isinstance(preprocessor, nn.Module) and any(
                child is module for child in owner.modules()
            )
            if inside:
                return preprocessor
        frame = frame.f_back
    return None

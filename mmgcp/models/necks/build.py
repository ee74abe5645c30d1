"""Building the parts of the pooling heads from their configs."""

import inspect
from typing import Any

from torch import nn

from mmgcp.layers import AdaptiveChannelDropout
from mmgcp.registry import MODELS

EXAMPLES = {
    'normalization': 'NewtonSchulz or MatrixPower',
    'dropout': 'AdaptiveChannelDropout or ElementDropout',
}


def build_normalization(cfg: dict | None, **known: Any) -> nn.Module | None:
    """Build a normalisation of covariance matrices.

    Args:
        cfg (dict, optional): Its config. The scope ``mmgcp`` is implied when
            ``type`` has none. None builds nothing.
        **known: What the pooling head knows, such as ``channels``: filled in
            where the normalisation takes it and the config leaves it open.

    Raises:
        KeyError: If there is no such normalisation.
    """
    return None if cfg is None else _build('normalization', cfg, known)


def build_dropout(cfg: dict | None, channels: int) -> nn.Module | None:
    """Build the dropout of a pooling head.

    Args:
        cfg (dict, optional): ``dict(type='AdaptiveChannelDropout', ...)`` or
            another one that maps ``(B, C, H, W)`` onto itself, or, if it says so
            with ``on_vector``, the covariance vector ``(B, K)``. None builds
            nothing.
        channels (int): Number of channels of the features.

    Raises:
        KeyError: If there is no such dropout.
    """
    if cfg is None:
        return None
    # The registered mmgcp.AdaptiveChannelDropout is the neck for pyramids; a
    # pooling head has one map, and wants the layer itself.
    if cfg['type'] in ('AdaptiveChannelDropout', 'mmgcp.AdaptiveChannelDropout'):
        cfg = {**cfg, 'type': AdaptiveChannelDropout}
    return _build('dropout', cfg, dict(channels=channels))


def _build(key: str, cfg: dict, known: dict) -> nn.Module:
    cfg = dict(cfg)
    cls = cfg['type']
    if isinstance(cls, str):
        cfg['type'] = cls if '.' in cls else f'mmgcp.{cls}'
        cls = MODELS.get(cfg['type'])
    if cls is None:
        raise KeyError(
            f'{key}={cfg["type"]!r} is not registered. Use a type of '
            'mmgcp.models.normalizations without its scope, such as '
            f'{EXAMPLES[key]}, or None'
        )
    accepted = inspect.signature(cls.__init__).parameters
    for name, value in known.items():
        if name in accepted:
            cfg.setdefault(name, value)
    return MODELS.build(cfg)

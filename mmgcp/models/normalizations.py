"""Normalizations of the covariance and DropCov, registered for configs.

``normalization=dict(type='NewtonSchulz', iterations=5)`` in a pooling neck picks one.
The mathematics is in :mod:`mmgcp.layers`, which knows no registry.
"""

import inspect

from torch import nn

from mmgcp import layers
from mmgcp.registry import MODELS

from .arguments import ConfigValueError, warn_renamed

NORMALIZATIONS: dict[str, type[layers.CovarianceNormalization]] = {
    'NewtonSchulz': layers.NewtonSchulz,
    'MatrixPower': layers.MatrixPower,
    'MatrixLogarithm': layers.MatrixLogarithm,
    'ElementwisePower': layers.ElementwisePower,
    'ScaleNorm': layers.ScaleNorm,
    'LayerNorm': layers.CovarianceLayerNorm,
    'svPN': layers.SVPN,
}
for _name, _layer in {**NORMALIZATIONS, 'DropCov': layers.DropCov}.items():
    MODELS.register_module(name=_name, module=_layer)


def build_normalization(
    cfg: dict | None, channels: int
) -> layers.CovarianceNormalization | None:
    """Build a normalization of covariance matrices ``(B, channels, channels)``.

    The type may be written without the scope ``mmgcp``.

    Raises:
        ConfigValueError: The type is not registered or no normalization.
    """
    if cfg is None:
        return None
    cls = _registered(cfg['type'])
    if cls is None or not issubclass(cls, layers.CovarianceNormalization):
        raise ConfigValueError(
            f'normalization={cfg["type"]!r} is not a registered normalization. Use '
            f'{", ".join(NORMALIZATIONS)} or None; a class of your own derives from '
            'mmgcp.layers.CovarianceNormalization'
        )
    takes_channels = 'channels' in inspect.signature(cls).parameters
    known = dict(channels=channels) if takes_channels else {}
    return MODELS.build({**known, **cfg, 'type': cls})


def build_dropout(cfg: dict | None, channels: int) -> nn.Module | None:
    """Build the dropout in front of a covariance: DropCov or a module of one's own.

    Raises:
        ConfigValueError: The type is not registered.
    """
    if cfg is None:
        return None
    kind = cfg['type']
    if kind in ('AdaptiveChannelDropout', 'mmgcp.AdaptiveChannelDropout'):
        warn_renamed(f'dropout=dict(type={kind!r}) of a pooling neck', "'DropCov'")
        kind = layers.DropCov
    cls = _registered(kind)
    if cls is None:
        raise ConfigValueError(
            f"dropout={kind!r} is not registered. Use 'DropCov' or None"
        )
    known = dict(channels=channels) if cls is layers.DropCov else {}
    return MODELS.build({**known, **cfg, 'type': cls})


def _registered(kind: str | type) -> type | None:
    if isinstance(kind, str):
        return MODELS.get(kind if '.' in kind else f'mmgcp.{kind}')
    return kind

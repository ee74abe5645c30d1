"""Normalizations of the covariance and DropCov, registered for configs.

``normalization=dict(type='NewtonSchulz', iterations=5)`` in a pooling neck picks one.
The mathematics is in :mod:`mmgcp.layers`, which knows no registry.
"""

import inspect
import warnings
from typing import Any

from torch import nn

from mmgcp import layers
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError

NORMALIZATIONS: dict[str, type[layers.CovarianceNormalization]] = {
    'NewtonSchulz': layers.NewtonSchulz,
    'MatrixPower': layers.MatrixPower,
    'MatrixLogarithm': layers.MatrixLogarithm,
    'ElementwisePower': layers.ElementwisePower,
    'ScaleNorm': layers.ScaleNorm,
    'LayerNorm': layers.CovarianceLayerNorm,
    'svPN': layers.SVPN,
    'PowTMLR': layers.PowTMLR,
    'ScalePowEMLR': layers.ScalePowEMLR,
    'CholTMLR': layers.CholTMLR,
}
for _name, _layer in {**NORMALIZATIONS, 'DropCov': layers.DropCov}.items():
    MODELS.register_module(name=_name, module=_layer)


def build_normalization(
    cfg: dict | None, channels: int
) -> layers.CovarianceNormalization | None:
    """Build a normalization of covariance matrices ``(B, channels, channels)``."""
    choices = (
        f'{", ".join(NORMALIZATIONS)} or None; a class of your own derives from '
        'mmgcp.layers.CovarianceNormalization'
    )
    kind = layers.CovarianceNormalization
    return _build('normalization', cfg, channels, kind, choices)


def build_dropout(cfg: dict | None, channels: int) -> nn.Module | None:
    """Build the dropout in front of a covariance: DropCov or a module of one's own."""
    old = ('AdaptiveChannelDropout', 'mmgcp.AdaptiveChannelDropout')
    if cfg is not None and cfg['type'] in old:
        warnings.warn(
            f"dropout=dict(type={cfg['type']!r}) of a neck is now called 'DropCov'; "
            'the old name goes away in the next release',
            FutureWarning,
            stacklevel=2,
        )
        cfg = {**cfg, 'type': layers.DropCov}
    return _build('dropout', cfg, channels, nn.Module, "'DropCov' or None")


def _build(
    argument: str, cfg: dict | None, channels: int, kind: type, choices: str
) -> Any:
    if cfg is None:
        return None
    cls = cfg['type']
    if isinstance(cls, str):
        cls = MODELS.get(cls if '.' in cls else f'mmgcp.{cls}')
    if cls is None or not issubclass(cls, kind):
        raise ConfigValueError(
            f'{argument}={cfg["type"]!r} is not a registered {argument}. Use {choices}'
        )
    takes_channels = 'channels' in inspect.signature(cls).parameters
    known = dict(channels=channels) if takes_channels else {}
    return MODELS.build({**known, **cfg, 'type': cls})

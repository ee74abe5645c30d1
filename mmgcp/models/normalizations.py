"""Normalisations of the covariance and drop variants, registered for configs.

``normalization=dict(type='NewtonSchulz', iterations=5)`` in a pooling neck picks one.
The mathematics is in :mod:`mmgcp.layers`, which knows no registry.
"""

from mmgcp import layers
from mmgcp.registry import MODELS

for _name, _layer in {
    'NewtonSchulz': layers.NewtonSchulz,
    'MatrixPower': layers.MatrixPower,
    'MatrixLogarithm': layers.MatrixLogarithm,
    'ElementwisePower': layers.ElementwisePower,
    'ScaleNorm': layers.ScaleNorm,
    'LayerNorm': layers.CovarianceLayerNorm,
    'svPN': layers.SVPN,
    'FixedChannelDropout': layers.FixedChannelDropout,
    'UniformChannelDropout': layers.UniformChannelDropout,
    'AttentionChannelDropout': layers.AttentionChannelDropout,
    'ElementDropout': layers.ElementDropout,
}.items():
    MODELS.register_module(name=_name, module=_layer)

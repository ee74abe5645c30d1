"""Pure torch layers: covariance, matrix functions, channel dropout."""

from .channel_dropout import AdaptiveChannelDropout
from .covariance import Covariance, CrossCovariance, covariance, cross_covariance
from .drop_rate import channel_drop_rate
from .drop_variants import (
    AttentionChannelDropout,
    ElementDropout,
    FixedChannelDropout,
    UniformChannelDropout,
)
from .elementwise import (
    CovarianceLayerNorm,
    ElementwisePower,
    ScaleNorm,
    elementwise_power,
)
from .fused_covariance import covariance_vector
from .matrix_power import MatrixPower, matrix_power_features
from .multi_head import MultiHeadCrossCovariance, multi_head_cross_covariance
from .newton_schulz import (
    NewtonSchulz,
    newton_schulz_features,
    newton_schulz_sqrt,
)
from .spectral import MatrixLogarithm, matrix_logarithm, matrix_power
from .svpn import SVPN, svpn
from .triangle import Triangle, triangle

__all__ = [
    'AdaptiveChannelDropout',
    'AttentionChannelDropout',
    'Covariance',
    'CovarianceLayerNorm',
    'CrossCovariance',
    'ElementDropout',
    'ElementwisePower',
    'FixedChannelDropout',
    'MatrixLogarithm',
    'MatrixPower',
    'MultiHeadCrossCovariance',
    'NewtonSchulz',
    'SVPN',
    'ScaleNorm',
    'Triangle',
    'UniformChannelDropout',
    'channel_drop_rate',
    'covariance',
    'covariance_vector',
    'cross_covariance',
    'elementwise_power',
    'matrix_logarithm',
    'matrix_power',
    'matrix_power_features',
    'multi_head_cross_covariance',
    'newton_schulz_features',
    'newton_schulz_sqrt',
    'svpn',
    'triangle',
]

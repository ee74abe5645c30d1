"""Pure torch layers: covariance, its normalizations, and DropCov's channel dropout."""

from .covariance import (
    CovarianceNormalization,
    covariance,
    covariance_vector,
    multi_head_cross_covariance,
)
from .dropcov import DropCov
from .matrix_functions import (
    MatrixLogarithm,
    MatrixPower,
    matrix_logarithm,
    matrix_power,
)
from .newton_schulz import NewtonSchulz, newton_schulz_features, newton_schulz_sqrt
from .other_normalizations import (
    SVPN,
    CovarianceLayerNorm,
    ElementwisePower,
    ScaleNorm,
    elementwise_power,
    svpn,
)
from .triangle import triangle

__all__ = [
    'SVPN',
    'CovarianceLayerNorm',
    'CovarianceNormalization',
    'DropCov',
    'ElementwisePower',
    'MatrixLogarithm',
    'MatrixPower',
    'NewtonSchulz',
    'ScaleNorm',
    'covariance',
    'covariance_vector',
    'elementwise_power',
    'matrix_logarithm',
    'matrix_power',
    'multi_head_cross_covariance',
    'newton_schulz_features',
    'newton_schulz_sqrt',
    'svpn',
    'triangle',
]

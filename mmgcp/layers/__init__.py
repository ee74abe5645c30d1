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
from .riemannian import CholTMLR, PowTMLR, ScalePowEMLR, log_cholesky
from .triangle import triangle

__all__ = [
    'SVPN',
    'CholTMLR',
    'CovarianceLayerNorm',
    'CovarianceNormalization',
    'DropCov',
    'ElementwisePower',
    'MatrixLogarithm',
    'MatrixPower',
    'NewtonSchulz',
    'PowTMLR',
    'ScalePowEMLR',
    'ScaleNorm',
    'covariance',
    'covariance_vector',
    'elementwise_power',
    'log_cholesky',
    'matrix_logarithm',
    'matrix_power',
    'multi_head_cross_covariance',
    'newton_schulz_features',
    'newton_schulz_sqrt',
    'svpn',
    'triangle',
]

"""Pooling heads of classifiers and necks of detectors and segmentors."""

from .adaptive_channel_dropout import AdaptiveChannelDropout
from .average_pooling import GlobalAveragePooling
from .cross_covariance_pooling import MultiHeadCrossCovariancePooling
from .global_covariance_pooling import GlobalCovariancePooling
from .second_order_attention import SecondOrderAttention

__all__ = [
    'AdaptiveChannelDropout',
    'GlobalAveragePooling',
    'GlobalCovariancePooling',
    'MultiHeadCrossCovariancePooling',
    'SecondOrderAttention',
]

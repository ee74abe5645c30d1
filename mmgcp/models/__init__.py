"""Registered modules: backbones, necks and heads."""

from . import normalizations
from .backbones import GCPMobileNetV2, GCPResNet, GCPShuffleNetV2, SoViT
from .heads import TokenFusionHead
from .necks import (
    AdaptiveChannelDropout,
    GlobalAveragePooling,
    GlobalCovariancePooling,
    MultiHeadCrossCovariancePooling,
    SecondOrderAttention,
)

__all__ = [
    'AdaptiveChannelDropout',
    'GCPMobileNetV2',
    'GCPResNet',
    'GCPShuffleNetV2',
    'GlobalAveragePooling',
    'GlobalCovariancePooling',
    'MultiHeadCrossCovariancePooling',
    'SecondOrderAttention',
    'SoViT',
    'TokenFusionHead',
    'normalizations',
]

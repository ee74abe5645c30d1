"""Registered modules: backbones, necks and heads."""

from . import normalizations
from .backbones import GCPMobileNetV2, GCPResNet, GCPShuffleNetV2
from .necks import AdaptiveChannelDropout, GlobalCovariancePooling, SecondOrderAttention

__all__ = [
    'AdaptiveChannelDropout',
    'GCPMobileNetV2',
    'GCPResNet',
    'GCPShuffleNetV2',
    'GlobalCovariancePooling',
    'SecondOrderAttention',
    'normalizations',
]

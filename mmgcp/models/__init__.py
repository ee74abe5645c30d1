"""Registered modules: backbones, necks and heads."""

from .backbones.gcp_resnet import GCPResNet
from .backbones.mobilenet_shufflenet import GCPMobileNetV2, GCPShuffleNetV2
from .backbones.sovit import SoViT
from .heads.linear_segmentation import LinearSegmentationHead
from .heads.token_fusion import TokenFusionHead
from .necks.global_covariance_pooling import (
    GlobalAveragePooling,
    GlobalCovariancePooling,
    MultiHeadCrossCovariancePooling,
)
from .necks.pyramid import AdaptiveChannelDropout, SecondOrderAttention

__all__ = [
    'AdaptiveChannelDropout',
    'GCPMobileNetV2',
    'GCPResNet',
    'GCPShuffleNetV2',
    'GlobalAveragePooling',
    'GlobalCovariancePooling',
    'LinearSegmentationHead',
    'MultiHeadCrossCovariancePooling',
    'SecondOrderAttention',
    'SoViT',
    'TokenFusionHead',
]

"""Registered modules: backbones, necks and heads."""

from .backbones.gcp_resnet import GCPResNet
from .backbones.library_encoders import HuggingFaceEncoder, TimmEncoder
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
from .necks.simple_feature_pyramid import SimpleFeaturePyramid

__all__ = [
    'AdaptiveChannelDropout',
    'GCPMobileNetV2',
    'GCPResNet',
    'GCPShuffleNetV2',
    'GlobalAveragePooling',
    'GlobalCovariancePooling',
    'HuggingFaceEncoder',
    'LinearSegmentationHead',
    'MultiHeadCrossCovariancePooling',
    'SecondOrderAttention',
    'SimpleFeaturePyramid',
    'SoViT',
    'TimmEncoder',
    'TokenFusionHead',
]

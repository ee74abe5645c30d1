"""Encoders."""

from .gcp_resnet import GCPResNet
from .light import GCPMobileNetV2, GCPShuffleNetV2
from .sovit import SoViT

__all__ = ['GCPMobileNetV2', 'GCPResNet', 'GCPShuffleNetV2', 'SoViT']

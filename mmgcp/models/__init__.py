"""Registered modules: backbones, necks and heads."""

from . import normalizations
from .backbones import GCPResNet
from .necks import GlobalCovariancePooling

__all__ = ['GCPResNet', 'GlobalCovariancePooling', 'normalizations']

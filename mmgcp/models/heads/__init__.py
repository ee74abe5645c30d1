"""Heads of classifiers."""

from .token_fusion import TokenFusionHead

__all__ = ['TokenFusionHead']

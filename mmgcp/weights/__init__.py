"""Checkpoint layouts, conversion, and loading that fills everything or raises."""

from .pretrained_encoder import PretrainedEncoder

__all__ = ['PretrainedEncoder']

"""Checkpoint layouts, conversion, and loading that fills everything or raises."""

from .pretrained_encoder import PretrainedEncoder
from .pretrained_neck import PretrainedNeck
from .torch_default import TorchDefault

__all__ = ['PretrainedEncoder', 'PretrainedNeck', 'TorchDefault']

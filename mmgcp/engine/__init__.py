"""What extends mmengine: runner, hooks, schedulers, metrics, process groups."""

from .hooks import EpochSeedHook, FiniteLossHook
from .landscape import LandscapeHook
from .layer_decay import LayerDecayConstructor
from .metrics import FlipRate, SubsetAccuracy
from .schedulers import PolynomialLR, WarmupCosineLR

__all__ = [
    'EpochSeedHook',
    'FiniteLossHook',
    'FlipRate',
    'LandscapeHook',
    'LayerDecayConstructor',
    'PolynomialLR',
    'SubsetAccuracy',
    'WarmupCosineLR',
]

"""What extends mmengine: runner, hooks, schedulers, process groups."""

from .hooks import EpochSeedHook, FiniteLossHook
from .landscape import LandscapeHook
from .layer_decay import LayerDecayConstructor
from .schedulers import PolynomialLR, WarmupCosineLR

__all__ = [
    'EpochSeedHook',
    'FiniteLossHook',
    'LandscapeHook',
    'LayerDecayConstructor',
    'PolynomialLR',
    'WarmupCosineLR',
]

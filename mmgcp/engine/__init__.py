"""What extends mmengine: runner, hooks, schedulers, process groups."""

from .hooks import EpochSeedHook, FiniteLossHook
from .landscape import LandscapeHook
from .schedulers import PolynomialLR, WarmupCosineLR

__all__ = [
    'EpochSeedHook',
    'FiniteLossHook',
    'LandscapeHook',
    'PolynomialLR',
    'WarmupCosineLR',
]

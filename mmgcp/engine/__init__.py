"""What extends mmengine: runner, hooks, schedulers, optimizer wrapper, process groups."""

from .hooks import EpochSeedHook, FiniteLossHook
from .landscape import LandscapeHook
from .optim_wrapper import CPUAmpOptimWrapper
from .schedulers import PolynomialLR, WarmupCosineLR

__all__ = [
    'CPUAmpOptimWrapper',
    'EpochSeedHook',
    'FiniteLossHook',
    'LandscapeHook',
    'PolynomialLR',
    'WarmupCosineLR',
]

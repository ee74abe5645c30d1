"""Hooks of the mmgcp scope that do not belong to a model."""

import hashlib
import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook

from mmgcp.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make every random draw a function of (seed, epoch, rank).

    The sampler of mmengine already orders the data by seed and epoch; dropout,
    augmentation in the main process and the sampling of regions go on from
    whatever state the generators are in, which a checkpoint does not hold. With
    this hook a run that was killed and resumed at the end of an epoch ends with
    the weights of the run that was not.

    Draws inside workers of a data loader are seeded by mmengine when the workers
    start and are not covered: use ``num_workers=0`` or transforms that draw
    nothing.

    Args:
        seed (int, optional): Defaults to None, the seed of the runner.
    """

    # Before every hook that might draw.
    priority = 'VERY_HIGH'

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def before_train_epoch(self, runner) -> None:
        """Seed ``random``, numpy and torch for this epoch on this rank."""
        seed = runner.seed if self.seed is None else self.seed
        # Neighbouring seeds or epochs must not share draws: hash, do not add.
        text = f'{seed}/{runner.epoch}/{get_rank()}'.encode()
        mixed = int.from_bytes(hashlib.sha256(text).digest()[:4], 'big')
        random.seed(mixed)
        np.random.seed(mixed)
        torch.manual_seed(mixed)

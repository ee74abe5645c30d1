"""Batch norm over processes, where there is no such thing."""

from logging import Logger

from mmengine.model import revert_sync_batchnorm
from torch import nn


def revert_sync_bn(model: nn.Module, where: str, logger: Logger) -> nn.Module:
    """Turn SyncBN into BN of the same state-dict keys, and say so in one line.

    Args:
        model: Changed in place.
        where: Why statistics cannot be shared, such as ``'on a CPU'``.
        logger: Takes the line.
    """
    layers = sum('SyncBatchNorm' in type(m).__name__ for m in model.modules())
    if layers == 0:
        return model
    logger.info(
        f'{layers} SyncBN layers become BN: statistics cannot be shared {where}'
    )
    return revert_sync_batchnorm(model)

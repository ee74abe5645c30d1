"""Mixed precision on a CPU, which mmengine's wrapper refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmgcp.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Run the forward pass in bfloat16 where autocast finds that safe.

    bfloat16 has the range of float32, so no loss is scaled. Operators of mmcv that
    have no bfloat16 form on a CPU (RoIAlign) raise: detectors need float32 there.
    Arguments are those of mmengine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, inside what gradient accumulation needs."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield

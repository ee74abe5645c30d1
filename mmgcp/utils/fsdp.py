"""Sharded training (FSDP) through mmengine's strategy, on a CPU too."""

from collections.abc import Sequence
from functools import partial

import torch
from mmengine._strategy import FSDPStrategy as MMEngineFSDPStrategy
from mmengine.device import get_device
from mmengine.optim import BaseOptimWrapper, OptimWrapperDict
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import lambda_auto_wrap_policy

from mmgcp.registry import STRATEGIES

from .sync_bn import revert_sync_bn

# Blocks of the encoders here; each is called as a module, which gathers its weights.
UNITS = (
    'BasicBlock',
    'Bottleneck',
    'InvertedResidual',
    'SwinBlock',
    'TokenBlock',
    'TransformerEncoderLayer',
)


@STRATEGIES.register_module()
class FSDPStrategy(MMEngineFSDPStrategy):
    """Share parameters, gradients and optimizer state over the processes.

    Each block of the encoder is a unit that is gathered when it is called. Everything
    else is one unit that is whole during a step: necks and heads are reached by other
    methods than ``forward``, which would find their weights sharded.

    Checkpoints are whole files of the usual keys by default; the optimizer state in
    them is stored by parameter name and goes on under FSDP only.

    Args:
        units: Class names of the blocks, looked for in ``model.backbone``.
        state_dict_cfg: See mmengine's ``FSDPStrategy``.
        model_wrapper: Arguments of ``MMFullyShardedDataParallel`` that differ.
        kwargs: Those of mmengine's ``FSDPStrategy``.
    """

    def __init__(
        self,
        *,
        units: Sequence[str] = UNITS,
        state_dict_cfg: str | dict = 'full',
        model_wrapper: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(state_dict_cfg=state_dict_cfg, **kwargs)
        self.units = tuple(units)
        self._wrapper_options = model_wrapper or {}

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        options = dict(
            type='MMFullyShardedDataParallel',
            auto_wrap_policy=partial(
                lambda_auto_wrap_policy, lambda_fn=set(self._units(model)).__contains__
            ),
        )
        if get_device() == 'cpu':
            check_cpu_streams()
            model = revert_sync_bn(model, 'on a CPU', self.logger)
            options['device_id'] = torch.device('cpu')
            # Offloading frees the gathered weights, which are those on the CPU here.
            self.state_dict_config.offload_to_cpu = False
        self.model_wrapper = {**options, **self._wrapper_options}
        return super()._wrap_model(model)

    def _units(self, model: nn.Module) -> list[nn.Module]:
        modules = model.backbone.modules()
        found = [m for m in modules if type(m).__name__ in self.units]
        if not found:
            self.logger.warning(
                f'FSDP: no {", ".join(self.units)} in {type(model.backbone).__name__}, '
                'so that the model is a single unit; name its blocks in strategy.units'
            )
        return found

    def build_optim_wrapper(
        self, optim_wrapper: BaseOptimWrapper | dict, model: nn.Module | None = None
    ) -> BaseOptimWrapper:
        """Build the optimizer of the shards; gradients are clipped by their norm
        over all of them, not by that of the shards of one process."""
        built = super().build_optim_wrapper(optim_wrapper, model)
        for each in built.values() if isinstance(built, OptimWrapperDict) else [built]:
            if each.clip_grad_kwargs and each.grad_name == 'grad_norm':
                each.clip_func = lambda _, **how: model.clip_grad_norm_(**how)
        return built

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer state of a checkpoint that this strategy wrote."""
        # By name: torch 2.1 changed the order that mmengine relies on.
        shards = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model,
            optim=self.optim_wrapper.optimizer,
            optim_state_dict=state_dict,
        )
        self.optim_wrapper.load_state_dict(shards)


def check_cpu_streams() -> None:
    """Check that torch can shard on a CPU.

    Raises:
        RuntimeError: Its CPU streams cannot be made the way FSDP makes them, as in
            torch 2.1.
    """
    try:
        torch.cpu.Stream(priority=0)
    except TypeError:
        raise RuntimeError(
            f'FSDP on a CPU: the streams of torch {torch.__version__} take no '
            'priority, and FSDP gives them one. Train on GPUs, with a newer torch '
            '(2.10 works), or without FSDP'
        ) from None

"""mmengine's Runner: checkpoints read safely, filled completely and saved whole."""

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.model import (
    MMDistributedDataParallel,
    initialize,
    revert_sync_batchnorm,
)
from mmengine.runner import BaseLoop, CheckpointLoader, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmgcp.datasets.samples import name_samples
from mmgcp.utils.errors import UserError, first_names
from mmgcp.utils.files import replacing
from mmgcp.utils.random_state import hashed_seed, seeded
from mmgcp.weights.errors import KeyMismatchError
from mmgcp.weights.files import local_file
from mmgcp.weights.metadata import check_model_input
from mmgcp.weights.reading import model_tensors, read_checkpoint

from .hooks import NotFiniteError
from .wiring import check_wiring

#: Prefix of checkpoint names that mmengine hands to :func:`load_from_weights_only`.
SAFE = 'safely:'
#: Records of mmengine that belong into the log file: environment, config, hooks.
LONG_RECORDS = ('\n' + '-' * 60, 'Config:', 'Hooks will be executed')


class ModelConfigError(UserError):
    """The ``model`` of a config cannot be built."""


@CheckpointLoader.register_scheme(prefixes=SAFE)
def load_from_weights_only(filename: str, map_location: Any = None) -> dict:
    return read_checkpoint(local_file(filename.removeprefix(SAFE)))


class GCPRunner(Runner):
    """mmengine's Runner, stricter with checkpoints, and on a CPU with many processes.

    Five keys of a config are read here:

    * ``compile_backbone=True``, or a dict of arguments of ``torch.compile``, compiles
      the forward pass of the backbone. Heads that select regions have shapes that
      change with every image, so they are not compiled.
    * ``compile_neck`` does the same for the neck. A pooling head on a GPU is many small
      kernels: ``compile_neck=dict(mode='reduce-overhead')`` replays them as one graph.
    * ``channels_last=True`` keeps the channels of a pixel together, which convolutions
      in half precision are faster with.
    * ``trust_checkpoint=True`` builds every Python object of a checkpoint. Without it
      only tensors and plain data are read.
    * ``log_level='DEBUG'`` shows environment, config and hooks in the terminal too.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
        """Build the logger; what fills pages goes into its file only."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler) and (
                handler.level > logging.DEBUG
            ):
                handler.addFilter(
                    lambda record: not record.getMessage().startswith(LONG_RECORDS)
                )
        return logger

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Build the model and compare the channels of its encoder, neck and heads.

        Raises:
            ModelConfigError: The config describes no model.
            WiringError: A neck or head does not take what the encoder returns.
        """
        try:
            built = super().build_model(model)
        except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
            text = error.args[0] if error.args else type(error).__name__
            raise ModelConfigError(
                f'{self.cfg.filename}: the model cannot be built: {text}. Add --debug '
                'to see where'
            ) from error
        check_wiring(built)
        return built

    def train(self) -> nn.Module:
        """Train, from weights that depend on the seed and the part alone.

        Encoder, neck and head are initialized one by one, each under a seed of its own.
        Two models of one seed start with equal encoders, whatever else they are made
        of.
        """
        model: Any = getattr(self.model, 'module', self.model)
        # mmengine's order: what the model as a whole asks for, its parts, then weights
        # of the whole model from a file.
        given = model.init_cfg or []
        given = [given] if isinstance(given, dict) else given
        with seeded(hashed_seed(self.seed, 'model')):
            initialize(model, [cfg for cfg in given if cfg['type'] != 'Pretrained'])
        model.init_cfg = [cfg for cfg in given if cfg['type'] == 'Pretrained']
        for name, part in model.named_children():
            if hasattr(part, 'init_weights'):
                with seeded(hashed_seed(self.seed, name)):
                    part.init_weights()
        check_model_input(model)
        return super().train()

    @staticmethod
    def build_dataloader(dataloader, *args: Any, **kwargs: Any) -> DataLoader:
        """Build a data loader whose errors name the file of the sample."""
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        name_samples(loader.dataset)
        return loader

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for data parallelism.

        SyncBN needs GPUs and more than one process. Otherwise it becomes BN with the
        same state-dict keys, and one log line says how many layers did.

        Raises:
            ModelConfigError: A part that is to be compiled is not there.
        """
        if self.cfg.get('channels_last'):
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for part in ('backbone', 'neck'):
            self._compile(model, part)
        on_cpu = get_device() == 'cpu'
        if not self.distributed or on_cpu:
            model = self._revert_sync_bn(model)
        if not self.distributed:
            return model.to(get_device())
        if on_cpu and model_wrapper_cfg is None:
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        **kwargs: Any,
    ) -> dict:
        """Load the weights of a checkpoint into the model.

        mmengine leaves a weight that the file lacks at its random value. That is
        accepted for fine-tuning from ``load_from`` only, and counted in the log.

        Raises:
            CheckpointError: The file is no checkpoint, or holds Python objects.
            KeyMismatchError: The run resumes or evaluates and weights are missing or
                have another shape, or no weight of ``load_from`` fits.
        """
        trusted = self.cfg.get('trust_checkpoint', False)
        source = filename if trusted else f'{SAFE}{filename}'
        checkpoint = super().load_checkpoint(source, map_location, strict, **kwargs)
        own = getattr(self.model, 'module', self.model).state_dict()
        tensors = model_tensors(checkpoint, filename)
        unfilled = [
            name
            for name, tensor in own.items()
            if name not in tensors or tensors[name].shape != tensor.shape
        ]
        fine_tunes = isinstance(self._train_loop, BaseLoop) and not self._resume
        if unfilled and (len(unfilled) == len(own) or not fine_tunes):
            raise KeyMismatchError(
                f'{filename} does not fit {self.cfg.filename}: {len(unfilled)} of '
                f'{len(own)} tensors are missing or have another shape: '
                f'{first_names(unfilled, 4)}. Give the config that the checkpoint was '
                'trained with'
            )
        if unfilled:
            self.logger.warning(
                f'{filename} fills {len(own) - len(unfilled)} of {len(own)} tensors; '
                'the others keep their initial values'
            )
        return checkpoint

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Save a checkpoint, as mmengine does; on a local disk it appears whole.

        Raises:
            NotFiniteError: A weight is not finite. Older checkpoints stay.
        """
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise NotFiniteError(
                    f'{name} is not finite at iteration {self.iter}; {filename} was '
                    f'not saved, and the checkpoints before it in {out_dir} were kept. '
                    'Lower the learning rate, or train without --amp'
                )
        elsewhere = '://' in str(out_dir) or any(
            kwargs.get(name) for name in ('backend_args', 'file_client_args')
        )
        if elsewhere:
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with replacing(os.path.join(out_dir, filename)) as part:
            super().save_checkpoint(str(part.parent), part.name, *args, **kwargs)

    def _revert_sync_bn(self, model: nn.Module) -> nn.Module:
        layers = sum('SyncBatchNorm' in type(m).__name__ for m in model.modules())
        if layers == 0:
            return model
        where = 'on a CPU' if self.distributed else 'in a single process'
        self.logger.info(f'{layers} SyncBN layers become BN {where}')
        return revert_sync_batchnorm(model)

    def _compile(self, model: nn.Module, part: str) -> None:
        # The method, not the module: a compiled module has other state-dict keys.
        options = self.cfg.get(f'compile_{part}')
        if options is None or options is False:
            return
        module = getattr(model, part, None)
        if module is None:
            raise ModelConfigError(
                f'{self.cfg.filename}: compile_{part} is set, but the model has no '
                f'{part}. Leave it out'
            )
        arguments = {} if options is True else dict(options)
        module.forward = torch.compile(module.forward, **arguments)
        self.logger.info(f'{part} compiled with {arguments or "the defaults"}')

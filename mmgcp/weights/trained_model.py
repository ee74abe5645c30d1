"""A model from a config and a checkpoint, filled to the last tensor."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..utils.config import enter_scope, framework_of, import_datasets, required
from .deep_stem import fitting_names
from .errors import KeyMismatchError
from .files import local_file
from .reading import encoder_tensors, model_tensors, read_checkpoint

NO_CHECKPOINT = 'none'


def build_untrained(config: Config) -> nn.Module:
    """Build the model of a config without fetching the weights it starts from.

    Synchronized batch norms, which need a GPU, become ordinary ones.
    """
    scope = framework_of(config)
    settings = copy.deepcopy(required(config, 'model'))
    # Classifiers keep it beside the model; the Runner hands it over.
    if config.get('data_preprocessor') is not None:
        settings.setdefault('data_preprocessor', config.data_preprocessor)
    enter_scope(scope)
    import_datasets(scope)
    with DefaultScope.overwrite_default_scope(scope):
        model = revert_sync_batchnorm(MODELS.build(settings))
    for module in model.modules():
        initializers = getattr(module, 'init_cfg', None) or []
        if isinstance(initializers, Mapping):
            initializers = [initializers]
        if any('checkpoint' in cfg for cfg in initializers):
            module.init_cfg = [c for c in initializers if 'checkpoint' not in c] or None
    return model


def load_trained_model(
    config: Config,
    checkpoint: str | Path,
    device: str | torch.device = 'cpu',
    trust: bool = False,
) -> nn.Module:
    """Build the model of a config and fill every tensor from a checkpoint.

    ``checkpoint`` is a path or address, or ``'none'`` for the random weights that a
    training without an encoder starts from. ``trust`` builds every Python object of
    the file, see :func:`read_checkpoint`. The model is in evaluation mode.

    Raises:
        ConfigError: The config has no model or no framework.
        FileNotFoundError: There is no such checkpoint.
        CheckpointError: It cannot be read, or values in it are not finite.
        KeyMismatchError: Names or shapes differ from those of the model.
    """
    model = build_untrained(config)
    _load(model, checkpoint, trust, model_tensors, str(config.filename))
    return model.to(device).eval()


def load_trained_encoder(
    config: Config, checkpoint: str | Path, trust: bool = False
) -> nn.Module:
    """The backbone alone, from a checkpoint of the whole model or an encoder file."""
    model = build_untrained(config)
    fill_encoder(model, config, checkpoint, trust)
    encoder = cast(nn.Module, model.backbone)
    encoder.eval()  # that of some backbones returns nothing
    return encoder


def fill_encoder(
    model: nn.Module, config: Config, checkpoint: str | Path, trust: bool = False
) -> None:
    """Fill the backbone of a model; errors are those of :func:`load_trained_model`."""

    def select(content: Any, source: str) -> dict:
        return fitting_names(encoder_tensors(content, source), model.backbone)

    target = f'the backbone of {config.filename}'
    _load(model.backbone, checkpoint, trust, select, target)


def _load(
    module: Any, checkpoint: str | Path, trust: bool, select: Callable, target: str
) -> None:
    if str(checkpoint) == NO_CHECKPOINT:
        module.init_weights()
        return
    path = str(local_file(checkpoint))
    fill(module, select(read_checkpoint(path, trust=trust), path), path, target)


def fill(
    module: nn.Module,
    tensors: Mapping[str, torch.Tensor],
    source: str,
    target: str,
    hint: str = 'Give the config that the checkpoint was trained with',
) -> None:
    """Copy tensors into a module, or raise KeyMismatchError with what differs."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        # the first line names the class of the module
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        shown = [line if len(line) <= 300 else f'{line[:300]} ...' for line in lines]
        more = f' and {len(lines) - 4} more.' if len(lines) > 4 else ''
        raise KeyMismatchError(
            f'{source} does not fit {target}: {" ".join(shown[:4])}{more} {hint}'
        ) from None

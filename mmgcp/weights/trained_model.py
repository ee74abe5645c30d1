"""A whole model from a config and a checkpoint, filled to the last tensor."""

import copy
import logging
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..utils.config import enter_scope, framework_of, required
from .errors import KeyMismatchError, first_names
from .files import local_file
from .pretrained_encoder import encoder_tensors
from .reading import MAX_BYTES, check_container, read_checkpoint, tensors_of

NO_CHECKPOINT = 'none'


def build_untrained(config: Config) -> nn.Module:
    """Build the model of a config without fetching the weights it starts from.

    Synchronised batch norms become ordinary ones of the same names: a single
    process has no group, and there is no such kernel for a CPU.

    Raises:
        ConfigError: The config has no model or no framework.
    """
    from mmengine.model import revert_sync_batchnorm

    scope = framework_of(config)
    settings = copy.deepcopy(required(config, 'model'))
    # Classifiers keep it beside the model; the Runner hands it over.
    if config.get('data_preprocessor') is not None:
        settings.setdefault('data_preprocessor', config.data_preprocessor)
    drop_initialisers(settings)
    enter_scope(scope)
    with DefaultScope.overwrite_default_scope(scope):
        return revert_sync_batchnorm(MODELS.build(settings))


def _initialise(model: nn.Module) -> None:
    """Random weights, without mmengine's list of what became of each tensor."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def drop_initialisers(settings: Any) -> None:
    """Remove ``init_cfg`` and ``pretrained`` that name files, at every depth."""
    if isinstance(settings, MutableMapping):
        initialiser = settings.get('init_cfg')
        if isinstance(initialiser, Mapping) and 'checkpoint' in initialiser:
            settings['init_cfg'] = None
        if settings.get('pretrained') is not None:
            settings['pretrained'] = None
        for value in settings.values():
            drop_initialisers(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            drop_initialisers(value)


def load_trained_model(
    config: Config,
    checkpoint: str | Path,
    device: str | torch.device = 'cpu',
    trust: bool = False,
) -> nn.Module:
    """Build the model of a config and fill every tensor from a checkpoint.

    Args:
        config: Config of mmpretrain, mmdet or mmseg.
        checkpoint: Path or address of the checkpoint; ``'none'`` for the random
            weights that a training without an encoder would start from.
        device: Where the model is put.
        trust: Build every Python object of the file; see :func:`read_checkpoint`.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        CheckpointError: It cannot be read.
        KeyMismatchError: Names or shapes differ from those of the model.
    """
    model = build_untrained(config)
    if str(checkpoint) == NO_CHECKPOINT:
        _initialise(model)
    else:
        path = local_file(checkpoint)
        content = read_checkpoint(path, trust=trust)
        fill(model, model_tensors(content, str(path)), f'{path}', config.filename)
    return model.to(device).eval()


def load_trained_encoder(
    config: Config, checkpoint: str | Path, trust: bool = False
) -> nn.Module:
    """The backbone alone, from a checkpoint of the whole model or an encoder file.

    Raises:
        KeyMismatchError: Names or shapes differ from those of the backbone.
    """
    encoder = cast(nn.Module, build_untrained(config).backbone)
    if str(checkpoint) == NO_CHECKPOINT:
        _initialise(encoder)
    else:
        path = local_file(checkpoint)
        tensors = encoder_tensors(read_checkpoint(path, trust=trust), str(path))
        fill(encoder, tensors, f'{path}', f'the backbone of {config.filename}')
    return encoder.eval()


def check_checkpoint(source: str | Path) -> None:
    """Refuse a local file that is no checkpoint before anything slow is built.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, a web page, an archive ...
    """
    if '://' not in str(source):
        check_container(Path(source).expanduser(), MAX_BYTES)


def model_tensors(content: Any, source: str) -> dict[str, torch.Tensor]:
    """Named tensors of a whole model, whatever wraps them."""
    if isinstance(content, Mapping) and 'state_dict' in content:
        content = content['state_dict']
    tensors = tensors_of(content, source)
    if all(name.startswith('module.') for name in tensors):
        tensors = {name.removeprefix('module.'): t for name, t in tensors.items()}
    return tensors


def fill(model: nn.Module, tensors: Mapping, source: str, target: str) -> None:
    """Copy tensors into a model, all of them or an error.

    Raises:
        KeyMismatchError: Names or shapes differ.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in tensors]
    surplus = [name for name in tensors if name not in own]
    shapes = [
        f'{name} is {tuple(tensors[name].shape)} in the file and '
        f'{tuple(own[name].shape)} in the model'
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    problems = [
        f'{len(names)} {what}: {first_names(names, 4)}'
        for what, names in (
            ('missing', missing),
            ('of another shape', shapes),
            ('unexpected', surplus),
        )
        if names
    ]
    if problems:
        raise KeyMismatchError(
            f'{source} does not fit {target}: {"; ".join(problems)}. Give the config '
            'that the checkpoint was trained with'
        )
    model.load_state_dict(dict(tensors))

"""What an analysis looks at: a config, a checkpoint and a label."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope
from mmengine.runner import load_checkpoint
from torch import nn

from mmgcp.datasets.checking import DataError, check_config
from mmgcp.utils.config import load_config
from mmgcp.weights.trained_model import check_checkpoint

from mmgcp.engine.distributed import mine
from mmgcp.utils.random_state import seeded

SCOPES = ('mmpretrain', 'mmdet', 'mmseg')
NO_CHECKPOINT = 'none'


@dataclass(frozen=True)
class RunSpec:
    """A run by its files; nothing is loaded yet.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path of the checkpoint, or ``'none'`` for the weights
            a training run would start from.
        label (str): Name in the JSON and in the picture.
    """

    config: str
    checkpoint: str
    label: str

    def load_config(self, options: dict | None = None) -> Config:
        """Read the config.

        Raises:
            FileNotFoundError: The config does not exist.
            ValueError: ``default_scope`` is not one of the three frameworks.
        """
        if not Path(self.config).is_file():
            raise FileNotFoundError(f'config {self.config} does not exist')
        cfg = load_config(self.config, options)
        if cfg.get('default_scope') not in SCOPES:
            raise ValueError(
                f'{self.config}: default_scope is {cfg.get("default_scope")!r}; '
                f'an analysis needs one of {", ".join(SCOPES)}'
            )
        return cfg


def run_specs(pairs: Sequence[str], labels: Sequence[str] | None = None) -> list:
    """Turn ``CONFIG CHECKPOINT CONFIG CHECKPOINT ...`` into runs.

    Raises:
        ValueError: An odd number of paths, or another number of labels.
    """
    if not pairs or len(pairs) % 2:
        raise ValueError(
            f'{len(pairs)} paths: give CONFIG CHECKPOINT pairs (checkpoint '
            f'{NO_CHECKPOINT!r} for the weights a training would start from)'
        )
    configs, checkpoints = pairs[::2], pairs[1::2]
    if labels is None:
        stems = [Path(config).stem for config in configs]
        labels = [
            f'{stem} {i}' if stems.count(stem) > 1 else stem
            for i, stem in enumerate(stems)
        ]
    if len(labels) != len(configs):
        raise ValueError(f'{len(labels)} labels for {len(configs)} runs')
    rows = zip(configs, checkpoints, labels, strict=True)
    return [RunSpec(*row) for row in rows]


@dataclass
class Run:
    """A loaded run: the model on its device and where it came from."""

    spec: RunSpec
    cfg: Config
    model: nn.Module
    iteration: int | None = None
    epoch: int | None = None

    @property
    def scope(self) -> str:
        return self.cfg.default_scope

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def describe(self) -> dict[str, Any]:
        """What the JSON says about the run."""
        return {
            'label': self.spec.label,
            'config': self.spec.config,
            'checkpoint': self.spec.checkpoint,
            'framework': self.scope,
            'iteration': self.iteration,
            'epoch': self.epoch,
        }


def load_run(
    spec: RunSpec,
    options: dict | None = None,
    device: str | None = None,
    seed: int = 0,
) -> Run:
    """Build the model of a run and load its checkpoint, key for key.

    Args:
        spec (RunSpec): The run.
        options (dict, optional): Config overrides, as ``--cfg-options``.
        device (str, optional): Defaults to what mmengine would train on.
        seed (int): Seed of the initialisation when there is no checkpoint.

    Raises:
        FileNotFoundError: The config or the checkpoint does not exist.
        RuntimeError: A key of model or checkpoint has no counterpart.
    """
    cfg = spec.load_config(options)
    if spec.checkpoint != NO_CHECKPOINT:
        if not Path(spec.checkpoint).is_file():
            raise FileNotFoundError(f'checkpoint {spec.checkpoint} does not exist')
        check_checkpoint(spec.checkpoint)
    with seeded(seed), scope_of(cfg):
        settings = copy.deepcopy(cfg.model)
        # Classifiers keep it beside the model; the Runner hands it over.
        if cfg.get('data_preprocessor') is not None:
            settings.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(settings)
        if spec.checkpoint == NO_CHECKPOINT:
            model.init_weights()
    # A single process has no group to synchronise with, and SyncBN has no
    # CPU kernel; the parameters and statistics are the same.
    model = revert_sync_batchnorm(model)
    meta: dict = {}
    if spec.checkpoint != NO_CHECKPOINT:
        try:
            content = load_checkpoint(
                model,
                spec.checkpoint,
                map_location='cpu',
                strict=True,
                logger='current',
            )
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise RuntimeError(
                f'{spec.checkpoint} does not fit {spec.config}: '
                + ' '.join(line.strip()[:200] for line in lines[:3])
                + (f' ... ({len(lines) - 3} more)' if len(lines) > 3 else '')
            ) from error
        meta = content.get('meta', {}) if isinstance(content, dict) else {}
    model.to(device or get_device()).eval()
    return Run(spec, cfg, model, meta.get('iter'), meta.get('epoch'))


def scope_of(cfg: Config):
    """Context in which the registries answer for the config's framework."""
    # Inside the block `build` finds the framework's modules; importing them
    # here keeps the other two frameworks optional.
    init_default_scope(cfg.default_scope)
    return DefaultScope.overwrite_default_scope(cfg.default_scope)


@dataclass
class Batches:
    """The part of a fixed sample that this process holds.

    Args:
        batches (list[dict]): What the data loader would hand to the model.
        sizes (list[int]): Images in each of them.
        total (int): Images in the whole sample, over all processes.
        description (dict): Split, size, seed: goes into the JSON.
    """

    batches: list
    sizes: list
    total: int
    description: dict


def sample_batches(
    run: Run, split: str, images: int, batch_size: int, seed: int, shared: bool = True
) -> Batches:
    """Draw a fixed sample of a run's data set.

    Which images is decided by ``seed`` alone; each image passes the pipeline
    under a seed of its own, so that random augmentation is fixed as well and
    does not depend on the number of processes.

    Args:
        run (Run): Its ``{split}_dataloader`` is used.
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        images (int): Size of the sample; the whole set when it is smaller.
        batch_size (int): Images per batch.
        seed (int): Seed of the choice.
        shared (bool): Each process loads its share of the batches, else all.

    Raises:
        KeyError: The config has no such data loader.
        ValueError: ``images`` or ``batch_size`` is not positive.
    """
    if images < 1 or batch_size < 1:
        raise ValueError(f'images={images} and batch_size={batch_size}: at least 1')
    dataset = build_dataset(run.cfg, split)
    indices = sample_indices(len(dataset), images, seed)
    groups = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    local = mine(groups) if shared else groups
    batches = []
    for group in local:
        samples = []
        for index in group:
            with seeded(seed + 7919 * (index + 1)):
                samples.append(dataset[index])
        batches.append(pseudo_collate(samples))
    description = {
        'split': split,
        'images': len(indices),
        'of': len(dataset),
        'batch_size': batch_size,
        'seed': seed,
    }
    return Batches(batches, list(map(len, local)), len(indices), description)


def build_dataset(cfg: Config, split: str):
    """Build the data set of one split.

    Raises:
        KeyError: The config has no ``{split}_dataloader``.
        DataError: The data set is missing, incomplete or empty.
    """
    name = f'{split}_dataloader'
    loader = cfg.get(name)
    if loader is None:
        raise KeyError(f'{cfg.filename}: no {name} to sample from')
    check_config(cfg, (name,))
    with scope_of(cfg):
        dataset = DATASETS.build(copy.deepcopy(loader['dataset']))
    if not len(dataset):
        raise DataError(f'{cfg.filename}: {name}.dataset has no sample')
    return dataset


def sample_indices(length: int, count: int, seed: int) -> list[int]:
    """``count`` different indices below ``length``, chosen by ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(length, generator=generator)[:count].tolist()

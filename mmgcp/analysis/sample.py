"""What an analysis looks at: runs, and a fixed sample of images."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import nn

from mmgcp.datasets.checking import DataError, check_config
from mmgcp.engine.distributed import mine
from mmgcp.utils.config import framework_of, load_config
from mmgcp.utils.device import pick_device
from mmgcp.utils.errors import UserError
from mmgcp.utils.progress import progress
from mmgcp.utils.random_state import seeded
from mmgcp.weights.trained_model import NO_CHECKPOINT, load_trained_model

#: Images per forward pass of a classifier, and of a detector or segmentor.
BATCH_SIZES = (32, 4)


@dataclass(frozen=True)
class RunSpec:
    """A run by its files; nothing is loaded yet.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint, or ``'none'`` for random weights.
        label: Name in the JSON and in the picture.
    """

    config: str
    checkpoint: str
    label: str

    def describe(self, framework: str) -> dict[str, str]:
        """What the JSON says about the run."""
        return {
            'label': self.label,
            'config': self.config,
            'checkpoint': self.checkpoint,
            'framework': framework,
        }


def run_specs(pairs: Sequence[str], labels: Sequence[str] | None = None) -> list:
    """Turn ``CONFIG CHECKPOINT CONFIG CHECKPOINT ...`` into runs.

    Raises:
        UserError: An odd number of paths, or another number of labels.
    """
    if not pairs or len(pairs) % 2:
        raise UserError(
            f'{len(pairs)} paths: give CONFIG CHECKPOINT pairs (checkpoint '
            f'{NO_CHECKPOINT!r} for random weights)'
        )
    configs, checkpoints = pairs[::2], pairs[1::2]
    if labels is None:
        stems = [Path(config).stem for config in configs]
        labels = [
            f'{stem} {i}' if stems.count(stem) > 1 else stem
            for i, stem in enumerate(stems)
        ]
    if len(labels) != len(configs):
        raise UserError(f'--labels: {len(labels)} labels for {len(configs)} runs')
    return list(map(RunSpec, configs, checkpoints, labels))


@dataclass(frozen=True)
class Settings:
    """What every analysis can be told.

    Args:
        images: Size of the sample; each analysis has its own default.
        batch_size: Images per forward pass. Defaults to :data:`BATCH_SIZES`.
        split: Whose data loader of the config the sample comes from.
        seed: Seed of the sample and of every other choice.
        options: Config overrides, as ``--cfg-options``.
        device: Where the models run. Defaults to the GPU if there is one.
        trust: Build every Python object of the checkpoints.
    """

    images: int | None = None
    batch_size: int | None = None
    split: str = 'train'
    seed: int = 0
    options: dict | None = None
    device: str | None = None
    trust: bool = False


@dataclass
class Run:
    """A loaded run: its config, and the model on its device."""

    spec: RunSpec
    cfg: Config
    model: nn.Module

    @property
    def framework(self) -> str:
        return self.cfg.default_scope

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load_run(spec: RunSpec, settings: Settings = Settings()) -> Run:
    """Build the model of a run and fill it from its checkpoint.

    Raises:
        UserError: A file is missing or damaged, or the checkpoint does not fit.
    """
    cfg = load_config(spec.config, settings.options)
    framework_of(cfg)
    device = pick_device(settings.device)
    with seeded(settings.seed):
        model = load_trained_model(cfg, spec.checkpoint, device, settings.trust)
    return Run(spec, cfg, model)


@dataclass
class Batches:
    """The part of a fixed sample that this process holds.

    Args:
        batches: What the data loader would hand to the model.
        sizes: Images in each of them.
        total: Images in the whole sample, over all processes.
        description: Split, size and seed, for the JSON.
    """

    batches: list
    sizes: list[int]
    total: int
    description: dict


def sample_batches(
    run: Run, split: str, images: int, batch_size: int, seed: int, shared: bool = True
) -> Batches:
    """Draw a fixed sample of a run's data set, the whole set when it is smaller.

    ``seed`` alone decides which images. Each image passes the pipeline under a seed of
    its own, so that random augmentation is fixed as well and does not depend on the
    number of processes. With ``shared`` each process loads its share of the batches.

    Raises:
        UserError: The config has no such data loader, the data set is not complete,
            or ``images`` or ``batch_size`` is not positive.
    """
    if images < 1 or batch_size < 1:
        raise UserError(f'images={images} and batch_size={batch_size}: at least 1')
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
        UserError: The config has no ``{split}_dataloader``, or the data set is
            missing, incomplete or empty.
    """
    name = f'{split}_dataloader'
    loader = cfg.get(name)
    if loader is None:
        raise UserError(f'{cfg.filename}: there is no {name} to sample from')
    check_config(cfg, (name,))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(copy.deepcopy(loader['dataset']))
    if not len(dataset):
        raise DataError(f'{cfg.filename}: {name}.dataset has no sample')
    return dataset


def sample_indices(length: int, count: int, seed: int) -> list[int]:
    """``count`` different indices below ``length``, chosen by ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(length, generator=generator)[:count].tolist()


def sampled_runs(
    what: str,
    specs: Sequence[RunSpec],
    settings: Settings,
    sizes: tuple[int, int],
    shared: bool = True,
    parts: int = 1,
) -> Iterator[tuple[dict, Run, Batches, Callable[[], None]]]:
    """Load run after run, draw the sample of each, and show the progress.

    Args:
        what: Name of the analysis, beside the progress bar.
        specs: The runs.
        settings: What the user asked for.
        sizes: Default of ``images`` for a classifier, and for a detector or segmentor.
        shared: Processes share the batches of each run; otherwise the runs.
        parts: Parts that the measurement of a run has.

    Yields:
        The row of the JSON so far, to be added to; the run; its sample; and what to
        call after each part but the last. When the loop goes on, the row gets its
        ``seconds``.
    """
    specs = specs if shared else mine(specs)
    with progress() as bar:
        task = bar.add_task(what, total=parts * len(specs))
        for number, spec in enumerate(specs, 1):
            start = time.perf_counter()
            run = load_run(spec, settings)
            dense = run.framework != 'mmpretrain'
            images, batch_size = settings.images, settings.batch_size
            sample = sample_batches(
                run,
                settings.split,
                sizes[dense] if images is None else images,
                BATCH_SIZES[dense] if batch_size is None else batch_size,
                settings.seed,
                shared,
            )
            row: dict = {**spec.describe(run.framework), 'sample': sample.description}
            yield row, run, sample, partial(bar.advance, task)
            row['seconds'] = time.perf_counter() - start
            bar.update(task, completed=parts * number)

"""What an analysis looks at: runs, and a fixed sample of images."""

import copy
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmgcp.datasets.building import build_dataset
from mmgcp.engine.distributed import mine
from mmgcp.utils.config import framework_of, load_config
from mmgcp.utils.device import pick_device
from mmgcp.utils.errors import UserError
from mmgcp.utils.progress import track
from mmgcp.utils.random_state import hashed_seed, seeded
from mmgcp.utils.run_specs import RunSpec
from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import KeyMismatchError
from mmgcp.weights.files import local_file
from mmgcp.weights.reading import check_checkpoint, read_checkpoint
from mmgcp.weights.trained_model import (
    NO_CHECKPOINT,
    build_untrained,
    fill,
    fill_encoder,
    load_trained_model,
)

#: Images per forward pass of a classifier, and of a detector or segmentor.
BATCH_SIZES = (32, 4)


@dataclass(frozen=True)
class Settings:
    """What every analysis can be told; the options of the tools describe it.

    ``images`` is the size of the sample, with a default for each analysis.
    ``batch_size`` is the largest of a forward pass, by default :data:`BATCH_SIZES`.
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
        return framework_of(self.cfg)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def describe(self) -> dict[str, str]:
        """What the JSON says about the run."""
        return {**self.spec._asdict(), 'framework': self.framework}


def checkpoint_file(spec: RunSpec) -> Path | None:
    """The checked file of a run, None for random weights."""
    if spec.checkpoint == NO_CHECKPOINT:
        return None
    path = local_file(spec.checkpoint)
    check_checkpoint(path)
    return path


def load_run(spec: RunSpec, settings: Settings = Settings()) -> Run:
    """Build the model of a run and fill it from its checkpoint."""
    cfg = load_config(spec.config, settings.options)
    device = pick_device(settings.device)
    with seeded(settings.seed):
        model = load_trained_model(cfg, spec.checkpoint, device, settings.trust)
    return Run(spec, cfg, model)


def load_encoder(
    config: Config,
    source: str | Path,
    device: str | None = None,
    trust: bool = False,
) -> Run:
    """Build the model of a config and fill its backbone, as the rest of it is not used.

    Args:
        config: The model; it is not changed.
        source: Encoder file, or checkpoint of a model, in a published layout too.
        device: Defaults to the GPU if there is one.
        trust: Build every Python object of the file.

    Raises:
        CheckpointError: The file cannot be read, or is not of this backbone.
    """
    cfg = copy.deepcopy(config)
    model: Any = build_untrained(cfg)
    seed = cfg.get('randomness', {}).get('seed') or 0
    try:
        # Random weights are those that a training with this seed starts from.
        with seeded(hashed_seed(seed, 'backbone')):
            fill_encoder(model, cfg, source, trust)
    except KeyMismatchError:
        # Perhaps the tensors have the names of torchvision or of the authors.
        with tempfile.TemporaryDirectory() as folder:
            converted = Path(folder) / 'encoder.pth'
            convert_checkpoint(source, converted, trust=trust)
            tensors = read_checkpoint(converted)['state_dict']
        fill(model.backbone, tensors, str(source), f'the backbone of {cfg.filename}')
    spec = RunSpec(str(cfg.filename), str(source), Path(source).stem)
    return Run(spec, cfg, model.to(pick_device(device)).eval())


@dataclass
class Batches:
    """The part of a fixed sample that this process holds."""

    batches: list  # what the data loader would hand to the model
    sizes: list[int]  # images in each of them
    total: int  # images in the whole sample, over all processes
    description: dict  # split, size and seed, for the JSON


def sample_batches(
    run: Run,
    split: str,
    images: int,
    batch_size: int,
    seed: int,
    shared: bool = True,
    least: int = 1,
    place: int = 0,
) -> Batches:
    """Draw a fixed sample of a run's data set, the whole set when it is smaller.

    ``seed`` alone decides which images. Each image passes the pipeline under a seed of
    its own, so that random augmentation is fixed as well and does not depend on the
    number of processes. Batches have at most ``batch_size`` images and differ by one at
    most: no small rest counts as much as they do. With ``shared`` each process loads
    its share of them. ``least`` is the smallest number of batches, if there are as many
    images. ``place`` 1, 2, ... are further samples, without an image of another one.
    """
    if images < 1 or batch_size < 1:
        raise UserError(f'images={images} and batch_size={batch_size}: at least 1')
    dataset = build_dataset(run.cfg, split)
    indices = sample_indices(len(dataset), images * (place + 1), seed)[images * place :]
    if place and len(indices) < images:
        raise UserError(
            f'{run.spec.config}: {place + 1} samples of {images} images, and the {split} '
            f'split has {len(dataset)}: take fewer with --samples or --images'
        )
    number = max(math.ceil(len(indices) / batch_size), min(least, len(indices)))
    groups = [group.tolist() for group in np.array_split(indices, number)]
    local = mine(groups) if shared else groups
    batches = []
    for group in local:
        samples = []
        for index in group:
            with seeded(seed + 7919 * (index + 1)):
                samples.append(dataset[index])
        batches.append(pseudo_collate(samples))
    description = {'split': split, 'images': len(indices), 'of': len(dataset)}
    description |= {'batch_size': len(groups[0]), 'seed': seed}
    return Batches(batches, list(map(len, local)), len(indices), description)


def sample_indices(length: int, count: int, seed: int) -> list[int]:
    """``count`` different indices below ``length``, chosen by ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(length, generator=generator)[:count].tolist()


def build_evaluator(config: Config, dataset: Any) -> Evaluator:
    """The evaluator of a config's test, for a data set of this meta information."""
    with DefaultScope.overwrite_default_scope(framework_of(config)):
        evaluator = Evaluator(copy.deepcopy(config.test_evaluator))
    evaluator.dataset_meta = dataset.metainfo
    return evaluator


@torch.no_grad()
def show_images(run: Run, dataset: Any, evaluator: Evaluator) -> None:
    """Hand what the model says about the images of a data set to an evaluator.

    Batches and workers are those of the config's test; processes share the images.
    """
    loader = {**run.cfg.test_dataloader, 'dataset': dataset}
    loader['persistent_workers'] = False
    with DefaultScope.overwrite_default_scope(run.framework):
        for batch in Runner.build_dataloader(loader, seed=0):
            evaluator.process(run.model.test_step(batch), batch)


def sampled_runs(
    what: str,
    specs: Sequence[RunSpec],
    settings: Settings,
    sizes: tuple[int, int],
    shared: bool = True,
    least: int = 1,
) -> Iterator[tuple[dict, Run, Batches]]:
    """Load run after run, draw the sample of each, and show the progress.

    ``sizes`` are the default of ``images`` for a classifier, and for a detector or
    segmentor. Processes share the batches of each run when ``shared``, otherwise the
    runs. Each yielded row of the JSON is to be added to, and gets its ``seconds`` when
    the loop goes on.
    """
    for spec in track(specs if shared else mine(specs), what):
        start = time.perf_counter()
        run = load_run(spec, settings)
        dense = run.framework != 'mmpretrain'
        images, batch_size = settings.images, settings.batch_size
        images = sizes[dense] if images is None else images
        batch_size = BATCH_SIZES[dense] if batch_size is None else batch_size
        sample = sample_batches(
            run, settings.split, images, batch_size, settings.seed, shared, least
        )
        row: dict = {**run.describe(), 'sample': sample.description}
        yield row, run, sample
        row['seconds'] = time.perf_counter() - start

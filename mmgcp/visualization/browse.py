"""Training samples of a config as the model receives them: after augmentation."""

import copy
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from rich.progress import track

from mmgcp.datasets.checking import check_config
from mmgcp.utils.config import (
    framework_of,
    innermost_dataset,
    load_config,
    required,
)
from mmgcp.utils.errors import UserError

from .drawing import caption, enlarge, palette_of, side_by_side, stack
from .files import read_image, save_image
from .predictor import dataset_meta, draw_sample


class BrowseError(UserError):
    """There are no samples to show."""


def build_training_set(config: Config) -> Any:
    """The training set of a config, with its pipeline.

    Raises:
        DataError: A file or folder of it is not there, or is not whole.
        BrowseError: It is empty.
    """
    scope = framework_of(config)
    settings = copy.deepcopy(required(config, 'train_dataloader.dataset'))
    check_config(config, ('train_dataloader',))
    with DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(settings)
    if not len(dataset):
        inner = innermost_dataset(settings)
        raise BrowseError(
            f'{config.filename}: train_dataloader.dataset has no sample. Look at '
            f'data_root={inner.get("data_root")!r}, ann_file='
            f'{inner.get("ann_file")!r} and filter_cfg={inner.get("filter_cfg")!r}'
        )
    return dataset


def classes_of(config: Config, dataset: Any) -> tuple[list[str], list]:
    """Names and colours of the classes of a data set that was built."""
    known = dataset.metainfo
    if known.get('classes'):
        classes = list(known['classes'])
        return classes, palette_of(len(classes), known.get('palette'))
    settings = innermost_dataset(config.train_dataloader.dataset)
    return dataset_meta(settings, framework_of(config))


def to_picture(inputs: torch.Tensor, config: Config) -> np.ndarray:
    """What the model receives, ``(3, H, W)``, as ``(H, W, 3)`` uint8 RGB."""
    preprocessor = {
        **(config.get('data_preprocessor') or {}),
        **(config.model.get('data_preprocessor') or {}),
    }
    image = inputs.float()
    if inputs.dtype != torch.uint8:
        # the pipeline normalised it: stretch what there is over the whole range
        low, high = image.min(), image.max()
        image = (image - low) / (high - low).clamp(min=1e-12) * 255
    picture = image.round().byte().permute(1, 2, 0).numpy()
    if preprocessor.get('bgr_to_rgb') or preprocessor.get('to_rgb'):
        picture = picture[..., ::-1]
    return np.ascontiguousarray(picture)


def draws(dataset: Any, indices: Sequence[int], repeats: int, seed: int) -> Iterator:
    """Pass samples through the pipeline, each draw under a seed of its own."""
    for index in indices:
        for repeat in range(repeats):
            number = (seed * 1_000_003 + index * 101 + repeat) % 2**32
            random.seed(number)
            np.random.seed(number)
            torch.manual_seed(number)
            yield index, repeat, dataset[index]


def browse(
    config: str | Path,
    out: str | Path,
    count: int = 12,
    repeats: int = 1,
    original: bool = False,
    seed: int = 0,
    columns: int = 4,
    options: dict[str, Any] | None = None,
) -> list[Path]:
    """Draw training samples with their annotations.

    Args:
        count: How many samples, chosen by ``seed``.
        repeats: How many draws of the augmentation of each.
        original: Put the file's picture in front of each.
        columns: Pictures in a row of the sheet.

    Returns:
        ``samples.png`` with all of them, then a file for each.

    Raises:
        UserError: The config or its data do not fit; says what.
    """
    if min(count, repeats, columns) < 1:
        raise BrowseError('--count, --repeats and --columns are at least 1')
    settings = load_config(config, options)
    dataset = build_training_set(settings)
    classes, colors = classes_of(settings, dataset)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    indices = sorted(int(i) for i in chosen)
    out = Path(out)
    written, panels = [], []
    total = len(indices) * repeats
    for index, repeat, packed in track(
        draws(dataset, indices, repeats, seed), 'drawing', total=total
    ):
        sample = packed['data_samples']
        image, factor = enlarge(to_picture(packed['inputs'], settings), 288)
        panel = draw_sample(image, factor, sample, classes, colors, predicted=False)
        source = sample.metainfo.get('img_path', '')
        if original and source:
            before = enlarge(read_image(source), 288)[0]
            panel = side_by_side([before, panel], ['file', 'sample'])
        height, width = packed['inputs'].shape[-2:]
        panel = caption(panel, f'{index}: {Path(source).name}  {width} x {height}')
        name = f'{index:06d}' + (f'_{repeat}' if repeats > 1 else '')
        written.append(save_image(panel, out / f'{name}.png'))
        panels.append(panel)
    rows = [
        side_by_side(panels[i : i + columns]) for i in range(0, len(panels), columns)
    ]
    return [save_image(stack(rows), out / 'samples.png'), *written]

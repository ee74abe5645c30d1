"""Training samples of a config as the model receives them: after augmentation."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmgcp.datasets.building import build_dataset
from mmgcp.utils.config import innermost_dataset, load_config
from mmgcp.utils.errors import UserError
from mmgcp.utils.progress import track
from mmgcp.utils.random_state import hashed_seed, seeded

from .drawing import caption, enlarge, side_by_side, stack
from .files import read_image, save_image
from .predictor import classes_of, draw_sample

SIDE = 288  # of a sample in the sheet, at least
COLUMNS = 4


def to_picture(inputs: torch.Tensor) -> np.ndarray:
    """What a pipeline gives, BGR ``(3, H, W)``, as a picture ``(H, W, 3)`` uint8 RGB."""
    picture = inputs.float().round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(picture[..., ::-1])


def browse(
    config: str | Path,
    out: str | Path,
    count: int = 12,
    repeats: int = 1,
    original: bool = False,
    seed: int = 0,
    options: dict[str, Any] | None = None,
) -> list[Path]:
    """Draw ``count`` training samples with their annotations, chosen by ``seed``.

    Augmentation is drawn ``repeats`` times for each; ``original`` puts the picture of the
    file in front. Returns ``samples.png`` with all of them, then a file for each.
    """
    if min(count, repeats) < 1:
        raise UserError(f'--count {count} --repeats {repeats}: both are at least 1')
    settings = load_config(config, options)
    dataset = build_dataset(settings, 'train')
    inner = innermost_dataset(settings.train_dataloader.dataset)
    names = classes_of(settings, {**inner, 'metainfo': dataset.metainfo})
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    draws = [(int(i), repeat) for i in sorted(chosen) for repeat in range(repeats)]
    written, panels = [], []
    for index, repeat in track(draws, 'drawing'):
        # Each draw has a seed of its own, whatever was drawn before.
        with seeded(hashed_seed(seed, index, repeat)):
            packed = dataset[index]
        image, sample = to_picture(packed['inputs']), packed['data_samples']
        panel = draw_sample(image, sample, *names, predicted=False, least=SIDE)
        source = sample.metainfo.get('img_path', '')
        if original and source:
            before = enlarge(read_image(source), SIDE)
            panel = side_by_side([before, panel], ['file', 'sample'])
        text = f'{index}: {Path(source).name}  {image.shape[1]} x {image.shape[0]}'
        panels.append(caption(panel, text))
        name = f'{index:06d}_{repeat}.png' if repeats > 1 else f'{index:06d}.png'
        written.append(save_image(panels[-1], Path(out) / name))
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    sheet = stack([stack(row, axis=1) for row in rows])
    return [save_image(sheet, Path(out) / 'samples.png'), *written]

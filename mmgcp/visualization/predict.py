"""Predicting a picture, a folder or a video with one model or several."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from mmgcp.utils.config import load_config
from mmgcp.utils.errors import UserError

from .drawing import enlarge, side_by_side
from .files import VIDEOS, Video, find_images, read_image, save_image, video_writer
from .predictor import Predictor


def pairs_of(paths: Sequence[str], labels: Sequence[str] | None = None) -> list[tuple]:
    """Turn ``CONFIG CHECKPOINT CONFIG CHECKPOINT ...`` into labelled pairs.

    Raises:
        UserError: An odd number of paths, or another number of labels.
    """
    if not paths or len(paths) % 2:
        raise UserError(
            f'{len(paths)} paths after the input: give CONFIG CHECKPOINT, once for '
            'each model'
        )
    configs, checkpoints = paths[::2], paths[1::2]
    if labels is None:
        same = len(set(configs)) == 1
        labels = [
            _short(checkpoint) if same and len(configs) > 1 else Path(config).stem
            for config, checkpoint in zip(configs, checkpoints, strict=True)
        ]
    if len(labels) != len(configs):
        raise UserError(f'--labels: {len(labels)} labels for {len(configs)} models')
    return list(zip(configs, checkpoints, labels, strict=True))


def _short(checkpoint: str) -> str:
    path = Path(checkpoint)
    return '/'.join(path.parts[-2:])


class Comparison:
    """Several models on the same picture, drawn in one row.

    Args:
        predictors: The models.
        titles: A title for each.
        threshold: Least score of an object that is drawn.
        with_input: Put the picture itself in front.
        least: Shorter side of each drawn picture, at least.
    """

    def __init__(
        self,
        predictors: Sequence[Predictor],
        titles: Sequence[str],
        threshold: float = 0.3,
        with_input: bool = False,
        least: int = 384,
    ) -> None:
        self.predictors = list(predictors)
        self.titles = list(titles)
        self.threshold = threshold
        self.with_input = with_input
        self.least = least

    def __call__(self, image: np.ndarray, name: str = '') -> np.ndarray:
        panels, titles = [], []
        if self.with_input:
            panels.append(enlarge(image, self.least)[0])
            titles.append(name or 'input')
        for predictor, title in zip(self.predictors, self.titles, strict=True):
            result = predictor(image, name)
            panels.append(predictor.draw(result, self.threshold, self.least))
            titles.append(title)
        return side_by_side(panels, titles)


def targets(images: Sequence[Path], source: Path, out: Path) -> list[Path]:
    """A file name in ``out`` for each picture, different ones for all."""
    root = source if source.is_dir() else source.parent
    names = [image.relative_to(root) for image in images]
    repeated = Counter(name.with_suffix('') for name in names)
    return [
        out
        / (
            name.with_suffix('.png')
            if repeated[name.with_suffix('')] == 1
            else name.with_name(f'{name.stem}_{name.suffix[1:]}.png')
        )
        for name in names
    ]


def predict(
    source: str | Path,
    pairs: Iterable[tuple],
    out: str | Path,
    device: str = 'cpu',
    threshold: float = 0.3,
    with_input: bool = False,
    options: dict[str, Any] | None = None,
    trust: bool = False,
) -> list[Path]:
    """Predict a picture, every picture of a folder, or a video; write what is seen.

    Args:
        source: A picture, a folder or a video.
        pairs: ``(config, checkpoint, label)`` of each model.
        out: Folder of the results.
        options: Overrides of every config.

    Returns:
        The files written, one for each picture or video.

    Raises:
        UserError: Something of the input does not fit; says what.
    """
    source, out = Path(source), Path(out)
    is_video = source.suffix.lower() in VIDEOS
    images = [] if is_video else find_images(source)
    video = Video(source) if is_video else None
    if out.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UserError(f'--out {out} is the folder of the input; choose another one')
    predictors, titles = [], []
    for config, checkpoint, label in pairs:
        settings = load_config(config, options)
        predictors.append(Predictor(settings, checkpoint, device, trust))
        titles.append(label)
    compare = Comparison(predictors, titles, threshold, with_input)
    if video is not None:
        target = out / f'{source.stem}.mp4'
        with video_writer(target, video.rate) as write:
            for frame in track(video, 'predicting', total=len(video) or None):
                write(compare(frame, source.name))
        return [target]
    written = targets(images, source, out)
    for image, target in track(
        list(zip(images, written, strict=True)), 'predicting', disable=len(images) < 2
    ):
        save_image(compare(read_image(image), image.name), target)
    return written

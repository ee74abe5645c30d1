"""Predicting a picture, a folder or a video with one model or several."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np

from mmgcp.datasets.checking import IMAGE_SUFFIXES
from mmgcp.utils.config import load_config
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import replacing
from mmgcp.utils.progress import track
from mmgcp.utils.run_specs import RunSpec

from .drawing import enlarge, side_by_side
from .files import VIDEOS, MediaError, find_images, read_image, save_image
from .predictor import Predictor


def predict(
    source: str | Path,
    runs: Sequence[RunSpec],
    out: str | Path,
    device: str = 'cpu',
    threshold: float = 0.3,
    with_input: bool = False,
    options: dict[str, Any] | None = None,
    trust: bool = False,
) -> tuple[list[Path], list[str]]:
    """Predict a picture, every picture of a folder, or a video, and draw the results.

    ``threshold`` is the least score of an object that is drawn; ``with_input`` puts the
    picture itself in front. Returns the files written in the folder ``out``, and a
    message for each picture that cannot be read.
    """
    source, out = Path(source), Path(out)
    root = source if source.is_dir() else source.parent
    if out.resolve() == root.resolve():
        raise UserError(f'--out {out} is the folder of the input; choose another one')
    images = find_images(source)
    images = [path for path in images if out.resolve() not in path.resolve().parents]
    models = [
        (Predictor(load_config(config, options), checkpoint, device, trust), label)
        for config, checkpoint, label in runs
    ]

    def compare(image: np.ndarray, name: str) -> np.ndarray:
        panels, titles = ([enlarge(image)], [name]) if with_input else ([], [])
        for model, label in models:
            sample = model(image, name)
            panels.append(model.draw(image, sample, threshold=threshold))
            titles.append(label)
        return side_by_side(panels, titles)

    if source.suffix.lower() in VIDEOS:
        return [_predict_video(source, out / f'{source.stem}.mp4', compare)], []
    written, failed = [], []
    for image in track(images, 'predicting'):
        # The result has the name of its picture, so that no two have the same.
        target = out / image.relative_to(root)
        if target.suffix.lower() not in IMAGE_SUFFIXES:
            target = target.with_suffix('.png')
        try:
            drawn = compare(read_image(image), image.name)
        except MediaError as error:
            failed.append(str(error))
        except cv2.error as error:  # it is too narrow to be resized, for example
            failed.append(f'{image} does not fit the test pipeline: {error}'.strip())
        else:
            written.append(save_image(drawn, target))
    return written, failed


def _predict_video(source: Path, target: Path, compare: Callable) -> Path:
    """Draw every frame of a video into another one, which is written whole or not."""
    video = mmcv.VideoReader(str(source))
    writer = None
    with replacing(target) as part:
        for frame in track((frame for frame in video), 'predicting'):
            drawn = compare(np.ascontiguousarray(frame[..., ::-1]), source.name)
            if writer is None:
                code, size = cv2.VideoWriter.fourcc(*'mp4v'), drawn.shape[1::-1]
                writer = cv2.VideoWriter(str(part), code, video.fps or 25.0, size)
            writer.write(np.ascontiguousarray(drawn[..., ::-1]))
        if writer is None:
            raise MediaError(
                f'{source} cannot be read as a video. Check that it plays, or convert '
                'it to .mp4 (H.264)'
            )
        writer.release()
        if not (part.is_file() and part.stat().st_size):
            raise MediaError(
                f'{target} cannot be written: the disk is full, or this build of '
                'OpenCV has no encoder for .mp4'
            )
    return target

"""Feature maps of one model or several on one picture, as a sheet and as numbers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmgcp.utils.config import load_config

from .drawing import caption, enlarge, side_by_side, stack
from .feature_maps import FeatureMapError, LevelView, view_levels
from .files import read_image, replacing, save_image
from .predictor import Predictor

TILE = 168


def colored(values: np.ndarray, name: str = 'viridis') -> np.ndarray:
    """A map ``(H, W)`` in colours, its least value dark and its largest bright."""
    from matplotlib import colormaps

    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.rint(colormaps[name](scaled)[..., :3] * 255).astype(np.uint8)


def resized(image: np.ndarray, size: tuple[int, int], smooth: bool) -> np.ndarray:
    """Resize to ``(width, height)``; positions stay squares unless ``smooth``."""
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize(size, method))


def overlay(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Lay a class-activation map over a picture of any size."""
    size = (image.shape[1], image.shape[0])
    peak = float(cam.max())
    scaled = cam / peak if peak > 0 else cam
    smooth = Image.fromarray(scaled.astype(np.float32)).resize(
        size, Image.Resampling.BILINEAR
    )
    values = np.asarray(smooth).clip(0, 1)
    from matplotlib import colormaps

    heat = colormaps['inferno'](values)[..., :3] * 255
    weight = (0.15 + 0.6 * values)[..., None]
    return np.rint((1 - weight) * image + weight * heat).astype(np.uint8)


def sheet(
    image: np.ndarray,
    views: Sequence[LevelView],
    channels: Sequence[int] | int,
    tile: int = TILE,
) -> np.ndarray:
    """One row per level: energy, class-activation map, channels."""
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    small = resized(enlarge(image, tile)[0], size, smooth=True)
    rows = []
    for view in views:
        count, rows_, columns = view.features.shape
        chosen = view.liveliest(channels) if isinstance(channels, int) else channels
        wrong = [i for i in chosen if not 0 <= i < count]
        if wrong:
            raise FeatureMapError(
                f'--channels {wrong[0]}: {view.name} has channels 0 to {count - 1}'
            )
        panels = [resized(colored(view.energy), size, smooth=False)]
        titles = [f'{view.name} rms']
        if view.cam is not None:
            panels.append(overlay(small, view.cam))
            titles.append('CAM')
        for index in chosen:
            panels.append(
                resized(colored(view.features[index], 'gray'), size, smooth=False)
            )
            titles.append(f'channel {index}')
        text = (
            f'{view.name}: {count} channels of {columns} x {rows_}, '
            f'stride {view.stride:g}, {view.dead_channels} constant'
        )
        rows.append(caption(side_by_side(panels, titles), text))
    return stack(rows)


def describe(views: Sequence[LevelView]) -> list[dict[str, Any]]:
    """The numbers behind a sheet."""
    return [
        {
            'level': view.name,
            'shape': list(view.features.shape),
            'stride': view.stride,
            'mean': float(view.features.mean()),
            'rms': float(np.sqrt((view.features.astype(np.float64) ** 2).mean())),
            'constant_channels': view.dead_channels,
            'liveliest_channels': view.liveliest(8),
            'cam_peak_xy': None
            if view.cam is None or not view.cam.max() > 0
            else _peak(view),
        }
        for view in views
    ]


def _peak(view: LevelView) -> list[float]:
    """Centre of the map's largest value, in pixels of the model's input."""
    row, column = np.unravel_index(int(view.cam.argmax()), view.cam.shape)
    return [float((column + 0.5) * view.stride), float((row + 0.5) * view.stride)]


def feature_maps(
    image: str | Path,
    pairs: Sequence[tuple],
    out: str | Path,
    levels: Sequence[str] | None = None,
    channels: Sequence[int] | int = 6,
    cam: bool = True,
    target: str | None = None,
    device: str = 'cpu',
    options: dict[str, Any] | None = None,
    trust: bool = False,
) -> tuple[Path, Path]:
    """Write ``feature_maps.png`` and ``feature_maps.json`` into a folder.

    Args:
        image: The picture.
        pairs: ``(config, checkpoint, label)`` of each model.
        levels: Names of the levels to show, all by default.
        channels: These channels of each level, or that many of the liveliest.
        cam: Add class-activation maps.
        target: Their class, by default the most certain one.

    Raises:
        UserError: Something of the input does not fit; says what.
    """
    picture = read_image(image)
    blocks, report = [], []
    for config, checkpoint, label in pairs:
        predictor = Predictor(load_config(config, options), checkpoint, device, trust)
        views, goal = view_levels(predictor, picture, cam, target)
        names = [view.name for view in views]
        for name in levels or ():
            if name not in names:
                raise FeatureMapError(f'--levels {name}: there are {", ".join(names)}')
        views = [view for view in views if not levels or view.name in levels]
        text = label if goal is None else f'{label}   CAM of {goal.name}: {goal.found}'
        text += '   (each map from its least value, dark, to its largest, bright)'
        result = predictor.draw(predictor(picture), least=2 * TILE)
        block = stack([result, sheet(picture, views, channels)])
        blocks.append(caption(block, text))
        report.append(
            {
                'label': label,
                'config': str(config),
                'checkpoint': str(checkpoint),
                'cam': None
                if goal is None
                else {'class': goal.name, 'score_of': goal.found},
                'levels': describe(views),
            }
        )
    out = Path(out)
    png = save_image(stack(blocks, gap=14), out / 'feature_maps.png')
    with replacing(out / 'feature_maps.json') as temporary:
        temporary.write_text(
            json.dumps({'image': str(image), 'models': report}, indent=1) + '\n'
        )
    return png, out / 'feature_maps.json'

"""Feature maps and class-activation maps of an encoder on one picture.

The class-activation map is HiResCAM (https://arxiv.org/abs/2011.08891): the sum over
channels of gradient times activation, position by position. Grad-CAM averages the
gradient over the positions first, and that average is zero behind covariance pooling,
because the covariance is centered. Behind average pooling the maps are proportional.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgcp.engine.forward import recorded_feature_maps
from mmgcp.utils.config import load_config
from mmgcp.utils.errors import UserError, first_names
from mmgcp.utils.files import write_json
from mmgcp.utils.run_specs import RunSpec

from .drawing import caption, resize, side_by_side, stack
from .files import read_image, save_image
from .predictor import Predictor

TILE = 168


def class_score(
    predictor: Predictor, inputs: Tensor, samples: list, target: str | None
) -> tuple[Tensor, str, str]:
    """Run a model on ``inputs`` ``(1, 3, H, W)`` and give the score of a class.

    The score of a classifier is the logit of the class. For a segmentor it is the mean
    over the pixels of the class, for a detector over its objects or its best anchors.
    The other results are the name of the class and what the score is the mean of.
    """
    classes, model = predictor.classes, predictor.model
    numbers: dict = {str(i): i for i in range(len(classes))}
    numbers |= {name: i for i, name in enumerate(classes)} | {None: None}
    if target not in numbers:
        shown = first_names(classes, 12)
        raise UserError(f'--target {target}: the classes are {shown}')
    label = numbers[target]
    if predictor.scope == 'mmpretrain':
        logits = model(inputs, mode='tensor')[-1].flatten()
        label = int(logits.argmax()) if label is None else label
        return logits[label], classes[label], 'logit'
    if predictor.scope == 'mmseg':
        logits = model.encode_decode(inputs, [s.metainfo for s in samples])
        labels, part = logits[0].argmax(0), 'pixels'
        label = int(labels.flatten().bincount().argmax()) if label is None else label
        values = logits[0, label]
    else:
        labels, values, part = detections(model, inputs, samples)
        if label is None and len(labels):
            label = int(labels[values.argmax()])
    found = labels == label
    if label is None or not found.any():
        raise UserError(
            f'the model finds no {part} of {target or "any class"} in this picture. '
            'Use another --image or --target, or show the maps alone (--no-cam)'
        )
    return values[found].mean(), classes[label], f'{int(found.sum())} {part}'


def detections(model: Any, inputs: Tensor, samples: list) -> tuple[Tensor, Tensor, str]:
    """Labels and differentiable log-odds of what a detector finds."""
    head: Any = getattr(model, 'bbox_head', None)
    if hasattr(head, 'prior_generator'):  # its decoded scores have no graph
        maps = [m[0] for m in head(model.extract_feat(inputs))[0]]
        maps = [m.unflatten(0, (-1, head.cls_out_channels)).movedim(1, 3) for m in maps]
        logits = torch.cat([m.flatten(0, 2) for m in maps])[:, : head.num_classes]
        best = logits.topk(min(20, len(logits)), dim=0).values
        labels = torch.arange(head.num_classes, device=best.device).expand_as(best)
        return labels.flatten(), best.flatten(), 'anchors'
    if hasattr(model, 'roi_head'):
        # Boxes only: pasting masks into the picture would keep a large graph.
        features, metas = model.extract_feat(inputs), [s.metainfo for s in samples]
        with torch.no_grad():
            boxes = model.rpn_head.predict(features, samples, rescale=False)
        head = model.roi_head
        found = head.predict_bbox(features, metas, boxes, head.test_cfg)[0]
    else:
        found = model.predict(inputs, samples, rescale=False)[0].pred_instances
    return found.labels, torch.logit(found.scores, eps=1e-6), 'objects'


@dataclass
class Level:
    """Feature map of one stage or pyramid level for one picture."""

    name: str
    features: np.ndarray  # (C, H, W), the part that the picture covers
    stride: float  # pixels of the model's input for one position
    cam: np.ndarray | None = None  # class-activation map (H, W), not negative

    @property
    def rms(self) -> np.ndarray:
        """Root mean square over the channels, ``(H, W)``."""
        return np.sqrt((self.features.astype(np.float64) ** 2).mean(0))

    def describe(self) -> dict[str, Any]:
        """The numbers behind a row of the sheet."""
        peak = None
        if self.cam is not None and self.cam.max() > 0:
            row, column = np.unravel_index(self.cam.argmax(), self.cam.shape)
            peak = [(column + 0.5) * self.stride, (row + 0.5) * self.stride]
        return {
            'level': self.name,
            'shape': self.features.shape,
            'stride': self.stride,
            'rms': np.sqrt((self.rms**2).mean()),
            'constant_channels': (np.ptp(self.features, axis=(1, 2)) == 0).sum(),
            'cam_peak_xy': peak,
        }


def levels_of(
    predictor: Predictor, image: np.ndarray, cam: bool = True, target: str | None = None
) -> tuple[list[Level], str, str]:
    """Pass a picture ``(H, W, 3)``, uint8 RGB, through a model and record its levels.

    They come from fine to coarse; with ``cam`` also the class of the activation maps
    and what its score is the mean of.
    """
    model = predictor.model
    data = model.data_preprocessor(predictor.prepare(image), False)
    inputs, samples = data['inputs'].requires_grad_(cam), data['data_samples']
    name = found = ''
    with torch.set_grad_enabled(cam), recorded_feature_maps(model) as recorded:
        if cam:
            score, name, found = class_score(predictor, inputs, samples, target)
        else:
            model.extract_feat(inputs)
        maps = {key: level for key, level in recorded.items() if level.dim() == 4}
    if not maps:
        kind = type(model.backbone).__name__
        raise UserError(f'{kind} gives no (B, C, H, W) maps to show')
    gradients: Sequence[Tensor | None] = [None] * len(maps)
    if cam:
        gradients = torch.autograd.grad(score, [*maps.values()], allow_unused=True)
    covered = samples[0].metainfo.get('img_shape') or inputs.shape[-2:]
    levels = []
    for (key, level), gradient in zip(maps.items(), gradients, strict=True):
        stride = inputs.shape[-1] / level.shape[-1]
        height, width = (max(1, round(int(side) / stride)) for side in covered[:2])
        part = level.detach()[0, :, :height, :width].cpu()
        activation = None
        if gradient is not None:
            gradient = gradient[0, :, :height, :width].cpu()
            activation = (gradient * part).sum(0).clamp(min=0).numpy()
        levels.append(Level(key, part.numpy(), stride, activation))
    return levels, name, found


def colored(values: np.ndarray, name: str = 'viridis') -> np.ndarray:
    """A map ``(H, W)`` in colors, its smallest value dark and its largest bright."""
    from matplotlib import colormaps

    values = (values - values.min()) / max(float(np.ptp(values)), 1e-30)
    return np.rint(colormaps[name](values)[..., :3] * 255).astype(np.uint8)


def overlay(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Lay a class-activation map ``(H, W)`` over a picture of any size."""
    height, width = image.shape[:2]
    cam = resize(cam / max(float(cam.max()), 1e-30), width, height, True).clip(0, 1)
    weight = (0.15 + 0.6 * cam)[..., None]
    mixed = (1 - weight) * image + weight * colored(cam, 'inferno')
    return np.rint(mixed).astype(np.uint8)


def sheet(
    image: np.ndarray, levels: Sequence[Level], channels: Sequence[int] | int
) -> np.ndarray:
    """One row per level: root mean square, class-activation map, channels."""
    scale = TILE / max(image.shape[:2])
    height, width = (max(1, round(scale * side)) for side in image.shape[:2])
    rows = []
    for level in levels:
        count, lines, columns = level.features.shape
        chosen: Any = channels
        if isinstance(channels, int):
            chosen = np.argsort(-level.features.var(axis=(1, 2)))[:channels]
        tiles = {f'{level.name} rms': colored(level.rms)}
        if level.cam is not None:
            tiles['CAM'] = overlay(resize(image, width, height, True), level.cam)
        for index in chosen:
            if not 0 <= index < count:
                raise UserError(
                    f'--channels {index}: {level.name} has channels 0 to {count - 1}'
                )
            tiles[f'channel {index}'] = colored(level.features[index], 'gray')
        panels = [resize(tile, width, height, smooth=False) for tile in tiles.values()]
        text = f'{level.name}: {count} channels of {columns} x {lines}, '
        text += f'stride {level.stride:g}'
        rows.append(caption(side_by_side(panels, list(tiles)), text))
    return stack(rows)


def feature_maps(
    image: str | Path,
    runs: Sequence[RunSpec],
    out: str | Path,
    channels: Sequence[int] | int = 6,
    cam: bool = True,
    target: str | None = None,
    device: str = 'cpu',
    options: dict[str, Any] | None = None,
    trust: bool = False,
) -> tuple[Path, Path]:
    """Write ``feature_maps.png`` and ``feature_maps.json`` into a folder.

    They show these ``channels`` of each level, or that many of the largest variance.
    ``cam`` adds class-activation maps, of the class ``target`` if it is given.
    """
    picture = read_image(image)
    blocks, report = [], []
    for spec in runs:
        config = load_config(spec.config, options)
        predictor = Predictor(config, spec.checkpoint, device, trust)
        levels, name, found = levels_of(predictor, picture, cam, target)
        text = f'{spec.label}   CAM of {name}: {found}' if cam else spec.label
        text += '   (each map from its smallest value, dark, to its largest, bright)'
        result = predictor.draw(
            picture, predictor(picture), least=2 * TILE, most=4 * TILE
        )
        block = stack([result, sheet(picture, levels, channels)])
        blocks.append(caption(block, text))
        row = {**spec._asdict(), 'levels': [level.describe() for level in levels]}
        row['cam'] = {'class': name, 'score_of': found} if cam else None
        report.append(row)
    png = save_image(stack(blocks, gap=14), Path(out) / 'feature_maps.png')
    numbers = Path(out) / 'feature_maps.json'
    return png, write_json(numbers, {'image': image, 'models': report})

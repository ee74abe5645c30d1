"""Predictions of a detector, a segmenter or a classifier on any picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmgcp.utils.config import ConfigError, framework_of, innermost_dataset, required
from mmgcp.weights.trained_model import load_trained_model

from .drawing import draw_instances, draw_segments, enlarge, palette_of

LOADERS = ('LoadImageFromFile', 'LoadImageFromNDArray')
ANNOTATIONS = ('LoadAnnotations', 'LoadPanopticAnnotations')


def dataset_meta(dataset: dict, scope: str) -> tuple[list[str], list]:
    """Names and colours of the classes, without reading the data set.

    Raises:
        ConfigError: Neither the config nor the data set's class names them.
    """
    with DefaultScope.overwrite_default_scope(scope):
        kind = DATASETS.get(dataset['type'])
    known = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    classes = known.get('classes')
    if isinstance(classes, str):
        classes = Path(classes).read_text().split('\n')
    if not classes:
        raise ConfigError(
            f'{dataset["type"]}: no names of classes; set metainfo=dict(classes=...)'
        )
    return list(classes), palette_of(len(classes), known.get('palette'))


@dataclass
class Result:
    """A picture as the model saw it and what it found there.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB, as given.
        sample: The framework's data sample, on the CPU.
    """

    image: np.ndarray
    sample: Any


class Predictor:
    """A trained model with the test pipeline of its config.

    Args:
        config: Config of mmdet, mmseg or mmpretrain.
        checkpoint: Checkpoint of the whole model, or ``'none'``.
        device: Where to compute.
        trust: Build every Python object of the checkpoint.

    Raises:
        ConfigError: The config lacks a model or a test pipeline.
        CheckpointError: The checkpoint does not fill the model.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | Path,
        device: str = 'cpu',
        trust: bool = False,
    ) -> None:
        self.config = config
        self.scope = framework_of(config)
        self.model = load_trained_model(config, checkpoint, device, trust)
        dataset = innermost_dataset(required(config, 'test_dataloader.dataset'))
        self.pipeline = self._pipeline(dataset)
        if self.scope == 'mmpretrain' and not dataset.get('metainfo'):
            count = required(config, 'model.head.num_classes')
            self.classes = [str(i) for i in range(count)]
            self.colors = palette_of(count)
        else:
            self.classes, self.colors = dataset_meta(dataset, self.scope)

    def _pipeline(self, dataset: dict):
        from mmengine.dataset import Compose

        steps = [
            step
            for step in dataset.get('pipeline') or []
            if step['type'].rpartition('.')[2] not in (*LOADERS, *ANNOTATIONS)
        ]
        if not steps:
            raise ConfigError(f'{self.config.filename}: the test pipeline is empty')
        with DefaultScope.overwrite_default_scope(self.scope):
            return Compose(steps)

    def prepare(self, image: np.ndarray, name: str = '') -> dict:
        """Pass a picture through the pipeline: a batch of one."""
        data = {
            'img': np.ascontiguousarray(image[..., ::-1]),
            'img_path': name,
            'img_id': 0,
            'img_shape': image.shape[:2],
            'ori_shape': image.shape[:2],
            # what mmseg's loaders of annotations leave for the later steps
            'seg_fields': [],
            'reduce_zero_label': False,
        }
        packed = self.pipeline(data)
        return {key: [value] for key, value in packed.items()}

    @torch.no_grad()
    def __call__(self, image: np.ndarray, name: str = '') -> Result:
        """Predict one ``(H, W, 3)`` uint8 RGB picture."""
        batch = self.prepare(image, name)
        if self.scope == 'mmpretrain':
            batch = {**batch, 'inputs': torch.stack(batch['inputs'])}
        sample = self.model.test_step(batch)[0].cpu()
        return Result(image, sample)

    def draw(self, result: Result, threshold: float = 0.3, least: int = 384):
        """Draw a result on an enlarged copy of its picture, RGB."""
        image, factor = enlarge(result.image, least)
        return draw_sample(
            image,
            factor,
            result.sample,
            self.classes,
            self.colors,
            predicted=True,
            threshold=threshold,
        )


def draw_sample(
    image: np.ndarray,
    factor: int,
    sample: Any,
    classes: list[str],
    colors: list,
    predicted: bool = True,
    threshold: float = 0.3,
) -> np.ndarray:
    """Draw the predictions or the annotations of a framework's data sample.

    Args:
        image: The picture, ``factor`` times as large as the sample's coordinates.
        predicted: The predictions; the annotations otherwise.
        threshold: Objects below this score are left out.
    """
    kind = 'pred' if predicted else 'gt'
    if f'{kind}_sem_seg' in sample:
        segments = as_array(sample.get(f'{kind}_sem_seg').data)[0]
        segments = segments.repeat(factor, 0).repeat(factor, 1)
        return draw_segments(image, segments, classes, colors)
    if f'{kind}_instances' in sample:
        objects = sample.get(f'{kind}_instances')
        scores = None
        if 'scores' in objects:
            # the most certain last, on top of the others
            order = objects.scores.argsort()
            objects = objects[order[objects.scores[order] >= threshold]]
            scores = as_array(objects.scores)
        masks = None
        if 'masks' in objects:
            masks = as_array(objects.masks).astype(bool)
            masks = masks.repeat(factor, 1).repeat(factor, 2)
        return draw_instances(
            image,
            as_array(objects.bboxes) * factor,
            as_array(objects.labels),
            classes,
            colors,
            scores,
            masks,
        )
    label = int(as_array(sample.get(f'{kind}_label')).reshape(-1)[0])
    height, width = image.shape[:2]
    score = None
    if predicted:
        score = [float(as_array(sample.pred_score)[label])]
    frame = np.array([[0, 0, width - 1, height - 1]])
    return draw_instances(image, frame, [label], classes, colors, score)


def as_array(value: Any) -> np.ndarray:
    """Tensors, boxes and masks of the frameworks as numpy arrays."""
    if hasattr(value, 'to_ndarray'):
        return value.to_ndarray()
    if hasattr(value, 'tensor'):
        value = value.tensor
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return np.asarray(value)

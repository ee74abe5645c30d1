"""Predictions of a detector, a segmentor or a classifier on any picture."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope

from mmgcp.datasets.checking import named_classes
from mmgcp.utils.config import ConfigError, framework_of, innermost_dataset, required
from mmgcp.weights.trained_model import load_trained_model

from .drawing import Color, draw_instances, draw_segments, enlarge, palette_of, resize


def preprocessor_of(config: Config) -> dict[str, Any]:
    """Settings of the data preprocessor, wherever a framework keeps them."""
    inner = config.model.get('data_preprocessor') or {}
    return {**(config.get('data_preprocessor') or {}), **inner}


def classes_of(config: Config, dataset: dict) -> tuple[list[str], list[Color]]:
    """Names and colors of the classes of a data set, which is given by its config."""
    scope = framework_of(config)
    with DATASETS.switch_scope_and_registry(scope) as registry:
        kind = registry.get(dataset['type'])
    known = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    classes = named_classes(dataset) or list(known.get('classes') or ())
    count = (config.model.get('head') or {}).get('num_classes')
    if scope == 'mmpretrain' and count not in (None, len(classes)):
        # An image folder names its classes, and it need not be on this machine.
        classes = [str(i) for i in range(count)]
    if not classes:
        raise ConfigError(
            f'{config.filename}: the data set {dataset["type"]} names no classes; '
            'give it metainfo=dict(classes=[...])'
        )
    return classes, palette_of(len(classes), known.get('palette'))


class Predictor:
    """A trained model with the test pipeline of its config.

    Arguments and errors are those of
    :func:`~mmgcp.weights.trained_model.load_trained_model`.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | Path,
        device: str = 'cpu',
        trust: bool = False,
    ) -> None:
        self.scope = framework_of(config)
        self.model = load_trained_model(config, checkpoint, device, trust)
        dataset = innermost_dataset(required(config, 'test_dataloader.dataset'))
        # The picture is given, and there are no annotations.
        steps = [
            step
            for step in dataset.get('pipeline') or []
            if not step['type'].rpartition('.')[2].startswith('Load')
        ]
        if not steps:
            raise ConfigError(f'{config.filename}: the test pipeline only loads')
        with DefaultScope.overwrite_default_scope(self.scope):
            self.pipeline = Compose(steps)
        self.classes, self.colors = classes_of(config, dataset)

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
        batch: dict = {key: [value] for key, value in self.pipeline(data).items()}
        if self.scope == 'mmpretrain':
            batch['inputs'] = torch.stack(batch['inputs'])
        return batch

    @torch.no_grad()
    def __call__(self, image: np.ndarray, name: str = '') -> Any:
        """Predict a ``(H, W, 3)`` uint8 RGB picture: a data sample on the CPU."""
        return self.model.test_step(self.prepare(image, name))[0].cpu()

    def draw(self, image: np.ndarray, sample: Any, **options: Any) -> np.ndarray:
        """Draw a prediction; the options are those of :func:`draw_sample`."""
        return draw_sample(image, sample, self.classes, self.colors, **options)


def draw_sample(
    image: np.ndarray,
    sample: Any,
    classes: list[str],
    colors: list[Color],
    predicted: bool = True,
    threshold: float = 0.3,
    least: int = 384,
    most: int | None = None,
) -> np.ndarray:
    """Draw the predictions or the annotations of a framework's data sample.

    The coordinates of the sample are pixels of ``image``. Objects with a score below
    ``threshold`` are left out. For ``least`` and ``most`` see :func:`enlarge`.
    """
    kind = 'pred' if predicted else 'gt'
    original = image.shape[1]
    image = enlarge(image, least, most)
    height, width = image.shape[:2]
    if f'{kind}_sem_seg' in sample:
        segments = as_array(sample.get(f'{kind}_sem_seg').data)[0].astype(np.int32)
        segments = resize(segments, width, height, smooth=False)
        return draw_segments(image, segments, classes, colors)
    if f'{kind}_instances' in sample:
        objects = sample.get(f'{kind}_instances')
        scores = masks = None
        if 'scores' in objects:
            # the most certain last, on top of the others
            order = objects.scores.argsort()
            objects = objects[order[objects.scores[order] >= threshold]]
            scores = as_array(objects.scores)
        if 'masks' in objects:
            bitmaps = as_array(objects.masks).astype(bool)
            masks = [resize(bitmap, width, height, smooth=False) for bitmap in bitmaps]
        boxes = as_array(objects.bboxes) * (width / original)
        labels = as_array(objects.labels)
        return draw_instances(image, boxes, labels, classes, colors, scores, masks)
    label = int(as_array(sample.get(f'{kind}_label')).reshape(-1)[0])
    score = [float(as_array(sample.pred_score)[label])] if predicted else None
    frame = np.array([[0, 0, width - 1, height - 1]])
    return draw_instances(image, frame, [label], classes, colors, score)


def as_array(value: Any) -> np.ndarray:
    """Tensors, boxes and masks of the frameworks as numpy arrays."""
    if hasattr(value, 'to_ndarray'):
        return value.to_ndarray()
    value = getattr(value, 'tensor', value)
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return np.asarray(value)

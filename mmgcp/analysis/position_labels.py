"""Which class each position of a feature map belongs to."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

NO_CLASS = -1


def check_resized(samples: Sequence) -> None:
    """Refuse ground truth that did not follow its image through a resize.

    Test pipelines load annotations behind the resize and leave them in the
    coordinates of the file, for evaluation.

    Raises:
        ValueError: A dense sample's image has another size than its file.
    """
    for sample in samples:
        before, after = (sample.metainfo.get(k) for k in ('ori_shape', 'img_shape'))
        if 'gt_label' in sample or before is None or after is None:
            continue
        if tuple(before[:2]) != tuple(after[:2]):
            raise ValueError(
                f'{sample.metainfo.get("img_path")} was resized from {before[:2]} to '
                f'{after[:2]} and its annotations were not: per-class spectra need '
                '--split train here'
            )


def position_labels(
    samples: Sequence, size: tuple[int, ...], input_size: tuple[int, ...]
) -> Tensor:
    """Class of each position from the ground truth of a batch.

    The image's label in classification; the label map, taken at the nearest
    pixel, in segmentation; the last box that holds the position's centre in
    detection.

    Args:
        samples (Sequence): Data samples of the framework, with ground truth.
        size (tuple[int, int]): Height and width of the feature map.
        input_size (tuple[int, int]): Height and width of the batch, in pixels.

    Returns:
        Tensor: ``(B, H, W)`` long, :data:`NO_CLASS` where there is no class.

    Raises:
        ValueError: The samples hold no ground truth.
    """
    return torch.stack([_labels(sample, size, input_size) for sample in samples])


def _labels(sample, size, input_size) -> Tensor:
    if 'gt_label' in sample:
        return torch.full(size, int(sample.gt_label.reshape(-1)[0]))
    if 'gt_sem_seg' in sample:
        truth = sample.gt_sem_seg.data.float()[None]
        nearest = F.interpolate(truth, size=size, mode='nearest')[0, 0].long()
        return torch.where(nearest == 255, NO_CLASS, nearest)
    if 'gt_instances' in sample:
        labels = torch.full(size, NO_CLASS)
        boxes = sample.gt_instances.bboxes
        boxes = getattr(boxes, 'tensor', boxes)
        y, x = (
            (torch.arange(n) + 0.5) * (pixels / n)
            for n, pixels in zip(size, input_size, strict=True)
        )
        for box, label in zip(boxes, sample.gt_instances.labels, strict=True):
            left, top, right, bottom = box.tolist()
            inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
            labels[inside] = int(label)
        return labels
    raise ValueError(
        'the samples hold no ground truth: per-class spectra need a split whose '
        'pipeline loads annotations (--split train)'
    )

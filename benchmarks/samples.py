"""Batches of noise in the form a model of each framework takes."""

import numpy as np
import torch


def synthetic_batch(config, batch: int, size: int) -> dict:
    """Images and annotations for ``model.data_preprocessor`` of one config.

    Args:
        config: The whole config, for its scope and number of classes.
        batch: Number of images.
        size: Their side.

    Returns:
        ``dict(inputs=..., data_samples=...)``.

    Raises:
        ValueError: The scope has no classifier, detector or segmentor.
    """
    scope = config.default_scope
    rng = np.random.default_rng(0)
    if scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        classes = _find(config.model, 'num_classes')
        return demo_mm_inputs(
            batch,
            [(3, size, size)] * batch,
            num_items=[8] * batch,
            num_classes=classes,
            with_mask='mask_head' in str(config.model),
        )
    images = [
        torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8))
        for _ in range(batch)
    ]
    if scope == 'mmpretrain':
        from mmpretrain.structures import DataSample

        classes = _find(config.model, 'num_classes')
        samples = [
            DataSample().set_gt_label(int(k)) for k in rng.integers(0, classes, batch)
        ]
        return dict(inputs=torch.stack(images), data_samples=samples)
    if scope == 'mmseg':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        classes = _find(config.model, 'num_classes')
        shape = dict(img_shape=(size, size), ori_shape=(size, size))
        samples = []
        for _ in range(batch):
            labels = torch.from_numpy(rng.integers(0, classes, (1, size, size)))
            sample = SegDataSample(metainfo=dict(shape, pad_shape=(size, size)))
            sample.gt_sem_seg = PixelData(data=labels)
            samples.append(sample)
        return dict(inputs=images, data_samples=samples)
    raise ValueError(
        f'default_scope={scope!r}: expected mmpretrain, mmdet or mmseg in the config'
    )


def _find(node, key: str):
    """First value of ``key`` anywhere in a config."""
    if isinstance(node, dict):
        if key in node:
            return node[key]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            found = _find(child, key)
            if found is not None:
                return found
    return None

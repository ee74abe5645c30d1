"""What is painted where in the pictures of truth and predictions."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from mmgcp.study.pictures import _draw_detection, _draw_segmentation

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
COLOURS = np.array([RED, BLUE])


@pytest.fixture
def black():
    return np.zeros((20, 40, 3), np.uint8)


def pixel(folder, name, x, y):
    """Colour at a place of the 20 x 40 image, in [0, 1]."""
    with Image.open(folder / name) as picture:
        scale = picture.width / 40
        return np.array(picture.convert('RGB').getpixel((x * scale, y * scale))) / 255


def test_segmentation_paints_classes_and_leaves_ignored_pixels(tmp_path, black):
    from mmseg.structures import SegDataSample

    truth = torch.zeros(1, 20, 40, dtype=torch.long)
    truth[:, :, 20:] = 1
    truth[:, :5] = 255
    predicted = torch.ones(1, 20, 40, dtype=torch.long)
    sample = SegDataSample()
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=predicted)
    _draw_segmentation(tmp_path / 't.png', black, sample, {}, COLOURS)
    _draw_segmentation(tmp_path / 'p.png', black, sample, None, COLOURS)
    for name, left in (('t.png', RED), ('p.png', BLUE)):
        assert np.allclose(
            pixel(tmp_path, name, 10, 15), 0.6 * np.array(left), atol=0.02
        )
        right = pixel(tmp_path, name, 30, 15)
        assert np.allclose(right, 0.6 * np.array(BLUE), atol=0.02)
        assert np.allclose(pixel(tmp_path, name, 10, 2), 0, atol=0.02)


def test_detection_paints_confident_instances_only(tmp_path, black):
    from mmdet.structures import DetDataSample

    sample = DetDataSample()
    masks = np.zeros((2, 20, 40), bool)
    masks[0, 5:15, 5:15], masks[1, 5:15, 25:35] = True, True
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[5.0, 5, 15, 15], [25, 5, 35, 15]]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.1]),
        masks=torch.from_numpy(masks),
    )
    file = tmp_path / 'p.png'
    _draw_detection(file, black, sample, None, ['a', 'b'], COLOURS)
    assert pixel(tmp_path, 'p.png', 10, 11)[0] > 0.3
    assert np.allclose(pixel(tmp_path, 'p.png', 30, 11), 0, atol=0.02)


def test_detection_truth_paints_polygons(tmp_path, black):
    box = {'bbox': [25, 5, 35, 15], 'bbox_label': 1, 'ignore_flag': 0}
    box['mask'] = [[25, 5, 35, 5, 35, 15, 25, 15]]
    truth = {'instances': [box]}
    _draw_detection(tmp_path / 't.png', black, None, truth, ['a', 'b'], COLOURS)
    assert pixel(tmp_path, 't.png', 30, 11)[2] > 0.3
    assert np.allclose(pixel(tmp_path, 't.png', 10, 11), 0, atol=0.02)

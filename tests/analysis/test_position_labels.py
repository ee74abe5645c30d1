"""Classes of positions from the frameworks' ground truth."""

import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from mmgcp.analysis.position_labels import (
    NO_CLASS,
    check_resized,
    position_labels,
)


def test_the_label_of_an_image_is_everywhere():
    sample = BaseDataElement(gt_label=torch.tensor([3]))
    assert position_labels([sample], (2, 2), (8, 8)).tolist() == [[[3, 3], [3, 3]]]


def test_a_label_map_is_read_at_the_nearest_pixel():
    truth = torch.tensor(
        [[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 255, 255], [2, 2, 255, 255]]]
    )
    sample = BaseDataElement(gt_sem_seg=PixelData(data=truth))
    found = position_labels([sample], (2, 2), (4, 4))
    assert found.tolist() == [[[0, 1], [2, NO_CLASS]]]


def test_a_box_holds_the_centres_inside():
    boxes = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 8, 4], [4.0, 0, 8, 8]]),
        labels=torch.tensor([1, 2]),
    )
    sample = BaseDataElement(gt_instances=boxes)
    found = position_labels([sample], (2, 2), (8, 8))
    assert found.tolist() == [[[1, 2], [NO_CLASS, 2]]]


def test_no_ground_truth_is_an_error():
    with pytest.raises(ValueError, match='--split train'):
        position_labels([BaseDataElement()], (2, 2), (8, 8))


def test_annotations_that_stayed_behind_are_refused():
    sample = BaseDataElement(metainfo={'ori_shape': (8, 8), 'img_shape': (8, 8)})
    check_resized([sample])
    sample.set_metainfo({'img_shape': (4, 4)})
    with pytest.raises(ValueError, match='--split train'):
        check_resized([sample])
    sample.gt_label = torch.tensor([1])
    check_resized([sample])

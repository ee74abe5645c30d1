"""Metrics of ImageNet-A, -R and -P on answers known by hand."""

import json

import pytest
import torch
from mmengine.config import Config

from mmgcp.engine.metrics import (
    FlipRate,
    SubsetAccuracy,
    known_metrics,
    top5_distance,
)
from mmgcp.utils.errors import UserError

pytestmark = pytest.mark.once


def scores(*order, classes=8):
    """Scores whose best classes are those named, in that order."""
    rest = [c for c in range(classes) if c not in order]
    out = torch.empty(classes)
    out[[*order, *rest]] = torch.arange(classes, 0, -1.0)
    return out


def test_accuracy_among_some_classes():
    metric = SubsetAccuracy(classes=[2, 5])
    # Another class is best in both; of the two, 5 and 2 are.
    samples = [
        dict(pred_score=scores(1, 5), gt_label=torch.tensor([1])),
        dict(pred_score=scores(7, 2), gt_label=torch.tensor([1])),
    ]
    metric.process(None, samples)
    assert metric.evaluate(2) == {'accuracy/top1': 50.0}
    metric.dataset_meta = {'classes': ['a', 'b', 'c']}
    with pytest.raises(UserError, match='has 3 classes'):
        metric.process(None, samples)


@pytest.mark.parametrize(
    ('latter', 'distance'),
    [
        ((0, 1, 2, 3, 4), 0),
        ((1, 0, 2, 3, 4), 2),
        ((5, 6, 7, 0, 1), 3 + 3 + 3 + 2 + 1),  # ranks 4, 5 and 6, 6, 6
        ((5, 6, 7, 4, 3), 5 + 4 + 3 + 1 + 1),
    ],
)
def test_top5_distance(latter, distance):
    assert top5_distance(scores(0, 1, 2, 3, 4), scores(*latter)) == distance


def video(name, *best):
    return [
        dict(video=f'{name}/a/b.mp4', frame=i, perturbation=name, pred_score=scores(c))
        for i, c in enumerate(best)
    ]


def test_flips(tmp_path):
    path = tmp_path / 'alexnet.json'
    keys = [f'perturbation/{kind}/snow' for kind in ('FP', 'T5D')]
    path.write_text(json.dumps(dict.fromkeys(keys, 50.0)))
    frames = video('snow', 0, 1, 1, 0) + video('shot_noise', 0, 1, 1, 0)
    metric = FlipRate()
    metric.process(None, frames[:3])
    metric.process(None, frames[3:])
    found = metric.evaluate(8)
    # Against the frame before it 2 of 3, under noise against the first one 2 of 3.
    assert found['perturbation/FP/snow'] == pytest.approx(200 / 3)
    assert found['perturbation/T5D/snow'] == pytest.approx((2 + 0 + 2) / 3)
    metric = FlipRate()
    metric.process(None, video('snow', 0, 1, 1, 1) + video('shot_noise', 0, 1, 1, 1))
    found = metric.evaluate(8)
    assert found['perturbation/FP/snow'] == pytest.approx(100 / 3)
    assert found['perturbation/FP/shot_noise'] == pytest.approx(100)
    assert found['perturbation/FP'] == pytest.approx(200 / 3)
    metric = FlipRate(reference=str(path))
    metric.process(None, video('snow', 0, 1, 2))
    assert metric.evaluate(3)['perturbation/mFP'] == pytest.approx(200)
    with pytest.raises(UserError, match='has no perturbation/FP/tilt'):
        metric.process(None, video('tilt', 0, 1, 2))


def test_frames_out_of_order():
    first, second, third = video('snow', 0, 0, 0)
    for wrong in ([second], [first, third], [first, *video('tilt', 0, 0)[1:]]):
        with pytest.raises(UserError, match='shuffle=False'):
            FlipRate().process(None, wrong)


@pytest.mark.parametrize('name', ['a', 'r'])
def test_classes_are_the_places_of_the_folders(name):
    pytest.importorskip('timm')
    from timm.data import ImageNetInfo

    config = Config.fromfile(f'configs/robustness/imagenet-{name}.py')
    every = ImageNetInfo().label_names()
    folders = config.test_dataloader.dataset.metainfo.classes
    assert [every[place] for place in config.test_evaluator.classes] == folders
    assert folders == sorted(folders)
    assert len(folders) == 200


IOU = {'type': 'IoUMetric', 'iou_metrics': ['mIoU']}
BOXES = {'type': 'mmdet.CocoMetric', 'metric': ['bbox', 'proposal']}


@pytest.mark.parametrize(
    ('evaluator', 'known'),
    [
        ({**IOU, 'iou_metrics': ['mDice']}, []),
        ({'type': 'Accuracy'}, ['accuracy/top1']),
        ({'type': 'Accuracy', 'topk': (1, 5), 'prefix': 'x'}, []),
        (BOXES, []),
        ([IOU, IOU], []),
        (None, []),
    ],
)
def test_metric_keys_that_are_known_before_a_training(evaluator, known):
    assert known_metrics(evaluator) == known

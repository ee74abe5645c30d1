"""Configs that train on a user's own data."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmgcp.datasets.own_data import own_data_changes, shortened, with_num_classes
from mmgcp.study.derived_config import DerivedConfig

ROOT = Path(__file__).parents[2]


def image(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (90, 120, 30)).save(path)


def on_own_data(name, **parts):
    config = DerivedConfig(ROOT / 'configs' / name)
    return config.changed(own_data_changes(config.values, parts, config.total_batch))


@pytest.fixture
def classes(tmp_path):
    for split in ('train', 'val'):
        for name in ('cat', 'dog'):
            image(tmp_path / split / name / '0.png')
    return {split: str(tmp_path / split) for split in ('train', 'val')}


@pytest.fixture
def boxes(tmp_path):
    data = {}
    for split in ('train', 'val'):
        image(tmp_path / 'det' / split / 'a.png')
        content = {
            'images': [{'id': 1, 'file_name': 'a.png', 'width': 20, 'height': 10}],
            'categories': [{'id': 7, 'name': 'cat'}, {'id': 9, 'name': 'dog'}],
            'annotations': [
                dict(id=i, image_id=1, category_id=c, bbox=[1, 1, 5, 5], area=25)
                for i, c in enumerate((7, 9))
            ],
        }
        file = tmp_path / 'det' / f'{split}.json'
        file.write_text(json.dumps(content))
        data[split] = {'images': str(file.with_suffix('')), 'annotations': str(file)}
    return data


@pytest.fixture
def masks(tmp_path):
    data = {}
    for split in ('train', 'val'):
        image(tmp_path / 'seg/img' / split / 'a.jpg')
        file = tmp_path / 'seg/ann' / split / 'a.png'
        file.parent.mkdir(parents=True)
        labels = np.zeros((10, 20), np.uint8)
        labels[:5], labels[0, 0] = 1, 255
        Image.fromarray(labels).save(file)
        images = str(tmp_path / 'seg/img' / split)
        data[split] = {'images': images, 'masks': str(file.parent)}
    return data


def test_detection_config_on_own_data(boxes):
    name = 'detection/faster-rcnn_r50-gap_fpn_1x_coco.py'
    changed = on_own_data(name, detection=boxes).values
    assert changed['model']['roi_head']['bbox_head']['num_classes'] == 2
    dataset = changed['test_dataloader']['dataset']
    assert dataset['ann_file'] == boxes['val']['annotations']
    assert dataset['metainfo']['classes'] == ('cat', 'dog')
    assert 'data_root' not in dataset
    assert changed['test_evaluator']['ann_file'] == boxes['val']['annotations']
    from mmdet.registry import DATASETS
    from mmdet.utils import register_all_modules

    register_all_modules()
    built = DATASETS.build(changed['train_dataloader']['dataset'])
    assert len(built) == 1
    labels = [item['bbox_label'] for item in built.get_data_info(0)['instances']]
    assert labels == [0, 1]


def test_segmentation_config_on_own_data(masks):
    name = 'segmentation/upernet_r50-gap_4xb4-160k_ade20k-512x512.py'
    changed = on_own_data(name, segmentation=masks)
    model = changed.values['model']
    assert model['decode_head']['num_classes'] == 2
    assert model['auxiliary_head']['num_classes'] == 2
    # 50 passes over one image are fewer than the shortest training.
    assert changed.schedule() == (False, 1000)
    assert changed.last_checkpoint() == 'iter_1000.pth'
    from mmseg.registry import DATASETS
    from mmseg.utils import register_all_modules

    register_all_modules()
    sample = DATASETS.build(changed.values['test_dataloader']['dataset'])[0]
    truth = sample['data_samples'].gt_sem_seg.data
    assert sorted(truth.unique().tolist()) == [0, 1, 255]


def test_classification_config_on_own_data(classes):
    name = 'pretrain/resnet50-isqrt_8xb32-lrnorm_in1k.py'
    changed = on_own_data(name, classification=classes).values
    assert changed['model']['head']['num_classes'] == 2
    from mmpretrain.registry import DATASETS
    from mmpretrain.utils import register_all_modules

    register_all_modules()
    built = DATASETS.build(changed['train_dataloader']['dataset'])
    assert built.CLASSES == ('cat', 'dog') or list(built.CLASSES) == ['cat', 'dog']
    assert len(built) == 2


def test_every_num_classes_is_set_lists_included():
    old, new = {'num_classes': 80, 'k': 1}, {'num_classes': 3, 'k': 1}
    model = {'a': old, 'b': [old, {'k': 2}], 'c': (1, old)}
    expected = {'a': new, 'b': [new, {'k': 2}], 'c': (1, new)}
    assert with_num_classes(model, 3) == expected


def test_shortened_schedule_keeps_its_shape():
    values = {
        'param_scheduler': [
            {'type': 'LinearLR', 'begin': 0, 'end': 1500},
            {'type': 'PolyLR', 'begin': 1500, 'end': 160000},
        ]
    }
    changes = shortened(values, 160000, 16000)
    assert changes['train_cfg'] == {'max_iters': 16000, 'val_interval': 1600}
    assert [s['end'] for s in changes['param_scheduler']] == [1500, 16000]
    assert changes['param_scheduler'][1]['begin'] == 1500

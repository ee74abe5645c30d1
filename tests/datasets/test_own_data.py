"""Configs that train on a user's own data."""

from pathlib import Path

import pytest
from tiny_datasets import make_own

from mmgcp.datasets.own_data import own_data_changes, shortened, with_num_classes
from mmgcp.study.derived_config import DerivedConfig

ROOT = Path(__file__).parents[2]


def on_own_data(name, **parts):
    config = DerivedConfig(ROOT / 'configs' / name)
    return config.changed(own_data_changes(config.values, parts, config.total_batch))


@pytest.fixture
def own(tmp_path):
    return make_own(tmp_path)


def test_detection_config_on_own_data(own):
    boxes = own['detection']
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


def test_segmentation_config_on_own_data(own):
    name = 'segmentation/upernet_r50-gap_4xb4-160k_ade20k-512x512.py'
    changed = on_own_data(name, segmentation=own['segmentation'])
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


def test_classification_config_on_own_data(own):
    name = 'pretrain/resnet50-isqrt_8xb32-lrnorm_in1k.py'
    changed = on_own_data(name, classification=own['classification']).values
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

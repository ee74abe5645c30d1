"""A user's own data: what is wrong with it, and the configs that use it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmgcp.datasets.own_data import (
    OwnDataError,
    check_classification,
    check_detection,
    check_segmentation,
    main,
    mask_classes,
)
from mmgcp.study.derived_config import DerivedConfig
from mmgcp.study.own_data import on_own_data, shortened, with_num_classes

ROOT = Path(__file__).parents[2]


def image(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (90, 120, 30)).save(path)


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
                {
                    'id': i,
                    'image_id': 1,
                    'category_id': c,
                    'bbox': [1, 1, 5, 5],
                    'area': 25,
                }
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
        data[split] = {
            'images': str(tmp_path / 'seg/img' / split),
            'masks': str(file.parent),
        }
    return data


def edit(file, change):
    content = json.loads(Path(file).read_text())
    change(content)
    Path(file).write_text(json.dumps(content))


def test_good_data_has_no_faults(classes, boxes, masks):
    found = check_classification(classes)
    assert found.errors == []
    assert found.counts['train'] == {'images': 2, 'classes': 2}
    found = check_detection(boxes)
    assert found.errors == []
    assert found.counts['train']['boxes'] == {'cat': 1, 'dog': 1}
    found = check_segmentation(masks)
    assert found.errors == []
    # 5 rows of 20 are class 1, less the ignored pixel.
    assert found.counts['train']['pixels'] == {'class 0': 100, 'class 1': 99}


def test_broken_and_empty_classes_are_listed(classes):
    Path(classes['train'], 'cat/0.png').write_bytes(b'no image')
    Path(classes['train'], 'fish').mkdir()
    image(Path(classes['val'], 'bird/0.png'))
    errors = '\n'.join(check_classification(classes).errors)
    assert 'cat/0.png: does not open' in errors
    assert 'train/fish: class without an image' in errors
    assert 'val/bird: not a class of' in errors


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c['annotations'][0].update(bbox=[15, 1, 8, 5]), 'outside a.png'),
        (lambda c: c['annotations'][0].update(bbox=[1, 1, 0, 5]), 'is empty'),
        (lambda c: c['annotations'][0].update(category_id=3), 'no category 3'),
        (lambda c: c['annotations'][0].update(image_id=3), 'no image 3'),
        (lambda c: c['annotations'][0].pop('area'), "1 annotations without 'area'"),
        (lambda c: c['annotations'].pop(), "class 'dog' is empty"),
        (lambda c: c['images'][0].update(width=30), '20 x 10, annotated as 30 x 10'),
        (lambda c: c['images'][0].update(file_name='b.png'), 'b.png: does not open'),
        (lambda c: c['categories'].reverse() or c['categories'][0].update(name='x'),
         'categories differ'),
    ],
)  # fmt: skip
def test_bad_boxes_are_listed(boxes, change, message):
    edit(boxes['train']['annotations'], change)
    assert message in '\n'.join(check_detection(boxes).errors)


def test_bad_masks_are_listed(masks):
    masks['classes'] = ['ground', 'sky', 'sea']
    file = Path(masks['train']['masks'], 'a.png')
    labels = np.asarray(Image.open(file)).copy()
    labels[9, 9] = 77
    Image.fromarray(labels).save(file)
    image(Path(masks['train']['images'], 'b.jpg'))
    Image.new('RGB', (20, 10)).save(Path(masks['val']['masks'], 'a.png'))
    errors = '\n'.join(check_segmentation(masks).errors)
    assert 'a.png: label 77, known are 0 to 2 and 255' in errors
    assert 'b.jpg: no mask in' in errors
    assert "class 'sea' is empty" in errors
    assert 'expected one channel of labels' in errors


def test_zero_may_be_background(masks):
    masks['reduce_zero_label'] = True
    assert mask_classes(masks) == ['class 1']
    assert check_segmentation(masks).errors == []


def test_missing_parts_are_named(masks, boxes):
    with pytest.raises(OwnDataError, match='nowhere: no such folder'):
        check_classification({'train': 'nowhere'})
    boxes['train']['annotations'] = 'none.json'
    with pytest.raises(OwnDataError, match=r'none\.json: no such file'):
        check_detection(boxes)


def test_command_fails_on_faults_and_lists_them(tmp_path, boxes, capsys):
    edit(boxes['val']['annotations'], lambda c: c['annotations'][0].update(bbox=[0, 0]))
    data, out = tmp_path / 'data.json', tmp_path / 'faults.json'
    data.write_text(json.dumps({'detection': boxes}))
    with pytest.raises(OwnDataError, match='1 faults in the data'):
        main([str(out), '--data', str(data)])
    assert 'is not [x, y, width, height]' in capsys.readouterr().out
    assert len(json.loads(out.read_text())['detection']['errors']) == 1
    main([str(out), '--data', str(data), '--allow-faults'])


def test_detection_config_on_own_data(boxes):
    config = DerivedConfig(
        ROOT / 'configs/detection/faster-rcnn_r50-gap_fpn_1x_coco.py'
    )
    changed = on_own_data(config, {'detection': boxes}).values
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
    name = 'configs/segmentation/upernet_r50-gap_4xb4-160k_ade20k-512x512.py'
    config = DerivedConfig(ROOT / name)
    changed = on_own_data(config, {'segmentation': masks})
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
    config = DerivedConfig(
        ROOT / 'configs/pretrain/resnet50-isqrt_8xb32-lrnorm_in1k.py'
    )
    changed = on_own_data(config, {'classification': classes}).values
    assert changed['model']['head']['num_classes'] == 2
    from mmpretrain.registry import DATASETS
    from mmpretrain.utils import register_all_modules

    register_all_modules()
    built = DATASETS.build(changed['train_dataloader']['dataset'])
    assert built.CLASSES == ('cat', 'dog') or list(built.CLASSES) == ['cat', 'dog']
    assert len(built) == 2


def test_every_num_classes_is_set_lists_included():
    model = {
        'a': {'num_classes': 80},
        'b': [{'num_classes': 80, 'k': 1}, {'k': 2}],
        'c': 1,
    }
    assert with_num_classes(model, 3) == {
        'a': {'num_classes': 3},
        'b': [{'num_classes': 3, 'k': 1}, {'k': 2}],
        'c': 1,
    }


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

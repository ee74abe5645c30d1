"""Every kind of fault is found, and one opinion holds for all data sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_datasets import make_ade20k, make_coco, make_imagenet

from mmgcp.datasets.checking import DataError
from mmgcp.datasets.samples import name_samples
from mmgcp.datasets.verifying import check_own_data, class_names, verify


@pytest.fixture
def coco(tmp_path):
    pytest.importorskip('mmdet')
    return make_coco(tmp_path / 'coco')


def of_annotation(**values):
    return lambda content: content['annotations'][1].update(values)


def found_in(root: Path, change):
    path = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return verify('coco', root, published=False)


@pytest.mark.parametrize(
    ('change', 'error'),
    [
        (of_annotation(bbox=[150, 8, 60, 60]), 'outside 000000000001.jpg (160 x 120)'),
        (of_annotation(bbox=[1, 2, 3]), 'is not [x, y, width, height]'),
        (of_annotation(bbox=[1, 2, 3, float('nan')]), 'outside 000000000001.jpg'),
        (of_annotation(bbox=[10, 10, -5, 5]), 'of negative size'),
        (of_annotation(category_id=99), 'no category 99'),
        (of_annotation(image_id=99), 'no image 99'),
        (of_annotation(id=1), 'its id is given twice'),
        (of_annotation(segmentation={'size': [7, 7]}), 'mask [height, width] [7, 7]'),
        (lambda c: c['annotations'][0].pop('area'), "1 annotations without 'area'"),
        (lambda c: c['images'][0].update(width=30), '160 x 120, annotated as 30 x 120'),
        (lambda c: c['images'][1].update(id=1), 'an image id is given twice'),
        (lambda c: c['images'][0].update(file_name='b.png'), 'b.png: missing'),
    ],
)
def test_annotations_that_spoil_a_training(coco, change, error):
    assert error in '\n'.join(found_in(coco, change).errors)


def test_an_empty_box_is_a_note(coco):
    found = found_in(coco, of_annotation(bbox=[10, 10, 5, 0]))
    assert found.errors == []
    assert 'annotation 2: bbox [10, 10, 5, 0] is empty' in found.notes[0]


def test_broken_and_missing_images(coco):
    first, second, third = sorted((coco / 'train2017').iterdir())[:3]
    first.write_bytes(first.read_bytes()[:-60])
    second.unlink()
    Image.new('RGB', (30, 20)).save(third)
    errors = sorted(verify('coco', coco, published=False).errors)
    assert len(errors) == 3
    assert f'{first}: does not open' in errors[0]
    assert errors[1] == f'{second}: missing'
    assert errors[2] == f'{third}: 30 x 20, annotated as 160 x 120'


def test_ade20k(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    assert verify('ade20k', root, published=False).errors == []
    masks = root / 'annotations' / 'training'
    Image.new('L', (160, 120), 151).save(masks / 'ADE_train_00000001.png')
    Image.new('RGB', (160, 120)).save(masks / 'ADE_train_00000002.png')
    Image.new('L', (16, 12), 1).save(masks / 'ADE_train_00000003.png')
    (masks / 'ADE_train_00000004.png').unlink()
    errors = '\n'.join(verify('ade20k', root).errors)
    assert 'training: expected 20210 images, found 4' in errors
    assert f'{masks}: unknown label 151 in ADE_train_00000001.png. Known are' in errors
    assert '00000002.png: (120, 160, 3), expected one channel' in errors
    assert '160 x 120, annotated as 16 x 12' in errors
    assert '00000004.jpg: no mask in' in errors


def test_imagenet(tmp_path):
    root = make_imagenet(tmp_path / 'imagenet')
    assert verify('imagenet', root, published=False).errors == []
    (root / 'val' / 'n00000000' / '0.JPEG').write_bytes(b'<html>')
    (root / 'train' / 'n00000010' / '1.JPEG').unlink()
    errors = '\n'.join(verify('imagenet', root).errors)
    assert 'train: expected 1281167 images, found 3' in errors
    assert "class 'n00000010' is empty" in errors
    assert '0.JPEG: does not open' in errors


# A user's own data.


def image(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (90, 120, 30)).save(path)


@pytest.fixture
def own(tmp_path):
    data = {'classification': {}, 'detection': {}, 'segmentation': {}}
    labels = np.zeros((10, 20), np.uint8)
    labels[:5], labels[0, 0] = 1, 255
    for split in ('train', 'val'):
        for name in ('cat', 'dog'):
            image(tmp_path / split / name / '0.png')
        data['classification'][split] = str(tmp_path / split)
        image(tmp_path / 'img' / split / 'a.jpg')
        images = str(tmp_path / 'img' / split)
        content = {
            'images': [dict(id=1, file_name='a.jpg', width=20, height=10)],
            'categories': [dict(id=7, name='cat'), dict(id=9, name='dog')],
            'annotations': [
                dict(id=i, image_id=1, category_id=i, bbox=[1, 1, 5, 5], area=25)
                for i in (7, 9)
            ],
        }
        file = tmp_path / f'{split}.json'
        file.write_text(json.dumps(content))
        data['detection'][split] = {'images': images, 'annotations': str(file)}
        mask = tmp_path / 'ann' / split / 'a.png'
        mask.parent.mkdir(parents=True)
        Image.fromarray(labels).save(mask)
        data['segmentation'][split] = {'images': images, 'masks': str(mask.parent)}
    return data


def errors_of(data, part):
    return '\n'.join(check_own_data({part: data[part]})[part].errors)


def test_good_data_has_no_faults(own):
    found = check_own_data(own)
    assert [of.errors + of.notes for of in found.values()] == [[], [], []]
    counts = {part: of.counts['train'] for part, of in found.items()}
    assert counts['classification'] == {'images': 2, 'classes': {'cat': 1, 'dog': 1}}
    assert counts['detection'] == {'images': 1, 'classes': {'cat': 1, 'dog': 1}}
    # 5 rows of 20 are class 1, less the ignored pixel.
    classes = {'class 0': 100, 'class 1': 99}
    assert counts['segmentation'] == {'images': 1, 'classes': classes}


def test_class_folders(own):
    image(Path(own['classification']['val'], 'bird/0.png'))
    errors = errors_of(own, 'classification')
    assert errors.endswith('val/bird/0.png: its folder is not a class')


def test_categories(own):
    for split in ('train', 'val'):
        file = Path(own['detection'][split]['annotations'])
        content = json.loads(file.read_text())
        content['annotations'].pop()
        content['categories'] = content['categories'][:: 1 if split == 'train' else -1]
        file.write_text(json.dumps(content))
    errors = errors_of(own, 'detection')
    assert "train.json: class 'dog' is empty" in errors
    assert 'val.json: categories or their order differ' in errors


def test_one_stray_label_is_one_fault_that_names_the_file(own):
    places = own['segmentation']
    file = Path(places['train']['masks'], 'a.png')
    labels = np.asarray(Image.open(file)).copy()
    labels[9, 9] = 77
    Image.fromarray(labels).save(file)
    assert class_names('segmentation', places) == ['class 0', 'class 1']
    places['reduce_zero_label'] = True
    assert class_names('segmentation', places) == ['class 1']
    places['reduce_zero_label'] = False
    (error,) = errors_of(own, 'segmentation').splitlines()
    assert 'unknown label 77 in a.png. Known are 0 to 1' in error
    assert 'classes=[...]' in error
    places['classes'] = ['ground', 'sky', 'sea']
    errors = errors_of(own, 'segmentation')
    assert 'Known are 0 to 2' in errors
    assert "class 'sea' is empty" in errors


@pytest.mark.parametrize(
    ('data', 'error'),
    [
        ({'classification': {'train': 'nowhere'}}, 'nowhere: no such file or folder'),
        ({'segmentation': {'val': {}}}, "own_data.segmentation: the key 'train'"),
        ({'detektion': {}}, "unknown part 'detektion'"),
    ],
)
def test_missing_parts_are_named(data, error):
    with pytest.raises(DataError, match=error):
        check_own_data(data)


@pytest.mark.parametrize(
    ('damage', 'error'),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:50]), 'does not open'),
        (lambda path: Image.new('L', (160, 120), 9).save(path), 'label 9, but .* 3 cl'),
    ],
)
def test_a_training_names_the_mask_it_ends_at(tmp_path, damage, error):
    pytest.importorskip('mmseg')
    from mmengine.registry import init_default_scope
    from mmseg.datasets import BaseSegDataset

    init_default_scope('mmseg')
    root = make_ade20k(tmp_path / 'ade', training=1)
    (mask,) = (root / 'annotations/training').iterdir()
    steps = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    dataset = BaseSegDataset(
        data_root=str(root),
        data_prefix={'img_path': 'images/training', 'seg_map_path': str(mask.parent)},
        metainfo=dict(classes=('a', 'b', 'c')),
        pipeline=[{'type': step} for step in steps],
    )
    name_samples(dataset)
    Image.new('L', (160, 120), 2).save(mask)
    assert dataset[0]['inputs'].shape == (3, 120, 160)
    damage(mask)
    with pytest.raises(DataError, match=f'{mask.name}.*{error}'):
        dataset[0]

"""Every kind of fault is found, and one opinion holds for all data sets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image
from tiny_datasets import (
    FINE_GRAINED,
    make_ade20k,
    make_coco,
    make_imagenet,
    make_own,
)

from mmgcp.datasets.checking import DataError
from mmgcp.datasets.samples import NamingPipeline, name_samples
from mmgcp.datasets.verifying import (
    check_own_data,
    class_names,
    image_problem,
    verify,
)


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


@pytest.mark.parametrize(
    ('name', 'images'), [('cub', 4), ('cars', 4), ('aircraft', 4), ('inat2017', 4)]
)
def test_fine_grained_sets(name, images, tmp_path):
    root = FINE_GRAINED[name](tmp_path / 'data')
    (tmp_path / 'link').symlink_to(root)
    found = verify(name, tmp_path / 'link', published=False)
    assert not found.errors + found.notes
    assert sum(count['images'] for count in found.counts.values()) == images
    next(root.rglob('*.jpg')).write_bytes(b'<html>')
    errors = '\n'.join(verify(name, root).errors)
    assert 'does not open' in errors
    assert re.search(r'expected \d+ images, found \d', errors)


def test_robustness_sets_and_links_to_class_folders(tmp_path):
    root, elsewhere = tmp_path / 'imagenet-a', tmp_path / 'n01498041'
    root.mkdir()
    elsewhere.mkdir()
    Image.new('RGB', (20, 10)).save(elsewhere / '0.jpg')
    (root / elsewhere.name).symlink_to(elsewhere)
    found = verify('imagenet-a', root)
    assert found.errors == [f'{root}: expected 7500 images, found 1']
    assert found.counts['']['classes'] == {'n01498041': 1}


def test_a_photograph_has_the_size_that_it_is_shown_with(tmp_path):
    orientation = Image.Exif()
    orientation[274] = 6  # turn it by 90 degrees
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (20, 10)).save(path, exif=orientation)
    assert image_problem(path, (10, 20)) is None
    assert '10 x 20, annotated as 20 x 10' in image_problem(path, (20, 10))


# A user's own data.


@pytest.fixture
def own(tmp_path):
    return make_own(tmp_path)


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
    # What is not decoded is not counted.
    quick = check_own_data(own, decode=False)
    assert [of.errors + of.notes for of in quick.values()] == [[], [], []]


def test_class_folders(own):
    bird = Path(own['classification']['val'], 'bird/0.png')
    bird.parent.mkdir()
    Image.new('RGB', (20, 10)).save(bird)
    (bird.parent / '._0.png').write_bytes(b'of a file system, not an image')
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


@pytest.mark.parametrize('content', [b'', b'<html>'])
def test_a_training_names_the_image_it_ends_at(tmp_path, content):
    path = tmp_path / 'a.jpg'
    path.write_bytes(content)
    pipeline = NamingPipeline([LoadImageFromFile()], classes=0, ignored=255)
    with pytest.raises(DataError, match='a.jpg: does not open'):
        pipeline({'img_path': str(path)})
    Image.new('RGB', (4, 4)).save(path)
    pipeline.transforms.append(lambda results: results['gone'])
    with pytest.raises(KeyError, match='gone'):  # no fault of the image
        pipeline({'img_path': str(path)})

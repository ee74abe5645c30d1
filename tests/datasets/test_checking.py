"""A missing or half-downloaded data set is found, and the message says what to do."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from tiny_datasets import make_ade20k, make_imagenet

from mmgcp.datasets import checking
from mmgcp.datasets.checking import DataError, check_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
TRAIN = ('train_dataloader',)


def config(name: str, root: Path, **changes) -> Config:
    (path,) = CONFIGS.glob(f'*/{name}.py')
    content = Config.fromfile(path)
    for loader in checking.LOADERS:
        content[loader].dataset.update(data_root=str(root), **changes)
    return content


@pytest.fixture
def coco(tmp_path):
    """Two images in the layout of COCO; what is in them does not matter here."""
    for split in ('train2017', 'val2017'):
        (tmp_path / split).mkdir()
        images = []
        for i in (1, 2):
            name = f'{i:012d}.jpg'
            (tmp_path / split / name).write_bytes(b'image')
            images.append(dict(id=i, file_name=name, height=8, width=8))
        categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
        content = dict(images=images, annotations=[], categories=categories)
        (tmp_path / 'annotations').mkdir(exist_ok=True)
        path = tmp_path / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(content))
    metainfo = dict(classes=('cat', 'dog'))
    name = 'faster-rcnn_r50-gap_fpn_1x_coco'
    return config(name, tmp_path, metainfo=metainfo), tmp_path


def test_complete_data_sets_pass(coco, tmp_path_factory):
    check_config(coco[0])
    root = tmp_path_factory.mktemp('other')
    check_config(
        config('fpn_r50-gap_4xb4-160k_ade20k-512x512', make_ade20k(root / 'a'))
    )
    check_config(config('resnet50-gap_8xb32-lrnorm_in1k', make_imagenet(root / 'i')))


def test_a_missing_root_names_key_path_and_page(tmp_path):
    with pytest.raises(DataError) as caught:
        check_config(config('faster-rcnn_r50-gap_fpn_1x_coco', tmp_path / 'nothing'))
    message = str(caught.value)
    assert 'train_dataloader.dataset.data_root of CocoDataset' in message
    assert str(tmp_path / 'nothing') in message
    assert 'docs/detection.md' in message


def test_a_missing_image_is_named_with_the_counts(coco):
    content, root = coco
    (root / 'val2017' / '000000000002.jpg').unlink()
    check_config(content, TRAIN)
    found = (
        'expected the 2 images of .*found 1 of them; 1 missing, such as 000000000002'
    )
    with pytest.raises(DataError, match=found) as caught:
        check_config(content)
    assert 'docs/detection.md' in str(caught.value)


@pytest.mark.parametrize(
    'classes', [('person',), ('cat', 'dgo'), ('dog', 'cat'), ('cat', 'dog', 'cow')]
)
def test_classes_that_are_not_those_of_the_file(coco, classes):
    content, root = coco
    for loader in checking.LOADERS:
        content[loader].dataset.metainfo.classes = classes
    with pytest.raises(DataError, match='metainfo.classes of CocoDataset') as caught:
        check_config(content)
    message = str(caught.value)
    assert f'expected the categories {", ".join(classes)}, found cat, dog' in message
    assert 'num_classes' in message


def test_the_classes_of_coco_are_expected_where_none_are_named(coco):
    pytest.importorskip('mmdet')
    content, root = coco
    del content.train_dataloader.dataset.metainfo
    with pytest.raises(
        DataError, match=r'categories person, .* \(80\), found cat, dog'
    ):
        check_config(content)


def test_a_part_of_the_categories_will_do(coco):
    content, _ = coco
    for loader in checking.LOADERS:
        content[loader].dataset.metainfo.classes = ('dog',)
    check_config(content)


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('{"images": [', 'ann_file .*instances_train2017.json to break off'),
        ('[]', 'found no images in .*instances_train2017.json'),
        ('{"images": [{"id": 1}]}', r'images\[0\] needs id, file_name, height, width'),
    ],
)
def test_a_damaged_annotation_file_is_found(coco, text, found):
    content, root = coco
    (root / 'annotations' / 'instances_train2017.json').write_text(text)
    with pytest.raises(DataError, match=found):
        check_config(content)


def test_large_annotation_files_are_searched_not_parsed(coco, monkeypatch):
    content, root = coco
    monkeypatch.setattr(checking, 'PARSED_BYTES', 0)
    check_config(content)
    (root / 'train2017' / '000000000001.jpg').unlink()
    with pytest.raises(DataError, match='expected the 2 images of .*found 1'):
        check_config(content)
    path = root / 'annotations' / 'instances_train2017.json'
    path.write_text(path.read_text()[:-3])
    with pytest.raises(DataError, match='break off after 2 images'):
        check_config(content)


def test_a_wrapped_data_set_is_checked_too(coco):
    content, root = coco
    inner = content.train_dataloader.dataset
    content.train_dataloader.dataset = ConfigDict(
        type='RepeatDataset', times=3, dataset=inner
    )
    (root / 'train2017' / '000000000001.jpg').unlink()
    with pytest.raises(DataError, match='000000000001.jpg'):
        check_config(content)


@pytest.mark.parametrize('folder', ['images', 'annotations'])
def test_images_and_masks_belong_together(tmp_path, folder):
    root = make_ade20k(tmp_path / 'ade')
    gone = next((root / folder / 'training').iterdir())
    gone.unlink()
    with pytest.raises(DataError, match='an image and a mask for each of 4') as caught:
        check_config(config('fpn_r50-gap_4xb4-160k_ade20k-512x512', root))
    assert gone.name in str(caught.value)
    assert 'docs/segmentation.md' in str(caught.value)


def test_a_list_of_names_is_what_counts(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    content = config('fpn_r50-gap_4xb4-160k_ade20k-512x512', root)
    (root / 'images/training/ADE_train_00000002.jpg').unlink()
    (root / 'some.txt').write_text('ADE_train_00000001\nADE_train_00000003\n')
    content.train_dataloader.dataset.ann_file = 'some.txt'
    check_config(content, TRAIN)
    (root / 'some.txt').write_text('ADE_train_00000001\nADE_train_00000002\n')
    with pytest.raises(DataError, match='the 2 samples of .*some.txt.*00000002'):
        check_config(content, TRAIN)


def test_imagenet_lists_and_class_folders(tmp_path):
    root = make_imagenet(tmp_path / 'imagenet')
    content = config('resnet50-gap_8xb32-lrnorm_in1k', root)
    (root / 'train/n00000010/1.JPEG').unlink()
    with pytest.raises(DataError, match='no n00000010/1.JPEG') as caught:
        check_config(content)
    assert 'docs/pretrain.md' in str(caught.value)
    for path in (root / 'meta').iterdir():
        path.unlink()
    with pytest.raises(DataError, match='expected 1000 class folders .*found 4'):
        check_config(content)


def test_remote_data_is_left_to_the_framework(coco):
    content, _ = coco
    for loader in checking.LOADERS:
        content[loader].dataset.data_root = 's3://bucket/coco/'
    check_config(content)

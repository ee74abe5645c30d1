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


def config(name: str, root: Path) -> Config:
    (path,) = CONFIGS.glob(f'*/{name}.py')
    content = Config.fromfile(path)
    for loader in checking.LOADERS:
        content[loader].dataset.data_root = str(root)
    return content


@pytest.fixture
def coco(tmp_path):
    """Two images in the layout of COCO; what is in them does not matter here."""
    for split in ('train2017', 'val2017'):
        (tmp_path / split).mkdir()
        names = [f'{i:012d}.jpg' for i in (1, 2)]
        for name in names:
            (tmp_path / split / name).write_bytes(b'image')
        content = {
            'images': [dict(id=i, file_name=n) for i, n in enumerate(names)],
            'annotations': [],
            'categories': [],
        }
        (tmp_path / 'annotations').mkdir(exist_ok=True)
        path = tmp_path / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(content))
    return config('faster-rcnn_r50-gap_fpn_1x_coco', tmp_path), tmp_path


def test_complete_data_sets_pass(coco, tmp_path_factory):
    check_config(coco[0])
    root = tmp_path_factory.mktemp('other')
    check_config(
        config('fpn_r50-gap_4xb4-160k_ade20k-512x512', make_ade20k(root / 'a'))
    )
    check_config(config('resnet50-gap_8xb32-lrnorm_in1k', make_imagenet(root / 'i')))


def test_a_missing_root_names_path_and_page(tmp_path):
    with pytest.raises(DataError) as caught:
        check_config(config('faster-rcnn_r50-gap_fpn_1x_coco', tmp_path / 'nothing'))
    message = str(caught.value)
    for part in ('train_dataloader', str(tmp_path / 'nothing'), 'docs/detection.md'):
        assert part in message


def test_a_missing_image_is_named_with_the_counts(coco):
    content, root = coco
    (root / 'val2017' / '000000000002.jpg').unlink()
    check_config(content, TRAIN)
    with pytest.raises(
        DataError, match='expected the 2 images of .*found 1 of them; 1 missing'
    ) as e:
        check_config(content)
    assert '000000000002.jpg' in str(e.value)
    assert 'docs/detection.md' in str(e.value)


def test_a_cut_annotation_file_is_found(coco):
    content, root = coco
    path = root / 'annotations' / 'instances_train2017.json'
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match='instances_train2017.json.*breaks off'):
        check_config(content)


def test_large_annotation_files_are_searched_not_parsed(coco, monkeypatch):
    content, root = coco
    monkeypatch.setattr(checking, 'PARSED_BYTES', 0)
    check_config(content)
    (root / 'train2017' / '000000000001.jpg').unlink()
    with pytest.raises(DataError, match='expected the 2 images of .*found 1 images'):
        check_config(content)
    path = root / 'annotations' / 'instances_train2017.json'
    path.write_text(path.read_text()[:-3])
    with pytest.raises(DataError, match='breaks off after 2 images'):
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


@pytest.mark.parametrize(
    ('gone', 'page'),
    [
        ('images/training/ADE_train_00000001.jpg', 'docs/segmentation.md'),
        ('annotations/training/ADE_train_00000001.png', 'docs/segmentation.md'),
    ],
)
def test_images_and_masks_belong_together(tmp_path, gone, page):
    root = make_ade20k(tmp_path / 'ade')
    # The samples drop three letters of the split for the name: 'training' -> 'train'.
    (root / gone).unlink()
    with pytest.raises(
        DataError, match='an image and a mask for each of 4 samples'
    ) as e:
        check_config(config('fpn_r50-gap_4xb4-160k_ade20k-512x512', root))
    assert Path(gone).name in str(e.value)
    assert page in str(e.value)


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
    with pytest.raises(DataError, match='expected 1000 class folders, found 4'):
        check_config(content)


def test_remote_data_is_left_to_the_framework(coco):
    content, root = coco
    for loader in checking.LOADERS:
        content[loader].dataset.data_root = 's3://bucket/coco/'
    check_config(content)

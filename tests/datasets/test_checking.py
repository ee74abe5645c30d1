"""A missing or half-downloaded data set is found, and the message says what to do."""

from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from tiny_datasets import FINE_GRAINED, make_ade20k, make_coco, make_imagenet

from mmgcp.datasets import INaturalist, checking
from mmgcp.datasets.checking import DataError, check_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
DETECTOR = 'detection/faster-rcnn_r50-gap_fpn_1x_coco'
SEGMENTOR = 'segmentation/fpn_r50-gap_4xb4-160k_ade20k-512x512'
CLASSIFIER = 'pretrain/resnet50-gap_8xb32-lrnorm_in1k'
TRAIN = ('train_dataloader',)


def config(name: str, root: Path, **changes) -> Config:
    content = Config.fromfile(CONFIGS / f'{name}.py')
    for loader in checking.LOADERS:
        content[loader].dataset.update(data_root=str(root), **changes)
    return content


@pytest.fixture
def coco(tmp_path):
    pytest.importorskip('mmdet')
    return make_coco(tmp_path / 'coco')


def test_a_missing_root_names_key_path_and_page(tmp_path):
    with pytest.raises(DataError) as caught:
        check_config(config(DETECTOR, tmp_path / 'nothing'))
    message = str(caught.value)
    assert 'train_dataloader.dataset.data_root of CocoDataset' in message
    assert str(tmp_path / 'nothing') in message
    assert 'docs/detection.md' in message


@pytest.mark.parametrize(
    ('folder', 'kind', 'page'),
    [
        ('imagenet-a', 'CustomDataset', 'analyses'),
        ('stylized-imagenet', 'ImageNet', 'analyses'),
        ('photographs/bccd', 'CocoDataset', 'photographs'),
        ('birds', 'CUB', 'finetune'),
        ('imagenet', 'ImageNet', 'pretrain'),
    ],
)
def test_the_page_of_the_data_is_named(folder, kind, page, tmp_path):
    dataset = {'type': kind, 'data_root': str(tmp_path / folder)}
    loader = {'test_dataloader': {'dataset': dataset}, 'default_scope': 'mmpretrain'}
    with pytest.raises(DataError, match=f'To get it: docs/{page}.md;'):
        check_config(loader)


@pytest.mark.parametrize('wrapped', [False, True])
def test_a_missing_image_is_named_with_the_counts(coco, wrapped):
    content = config(DETECTOR, coco)
    check_config(content)
    if wrapped:
        for loader in checking.LOADERS:
            content[loader].dataset = ConfigDict(
                type='RepeatDataset', times=3, dataset=content[loader].dataset
            )
    (coco / 'val2017' / '000000000002.jpg').unlink()
    check_config(content, TRAIN)
    found = 'the 2 images of .*found 1 of them; 1 missing, such as 000000000002'
    with pytest.raises(DataError, match=found):
        check_config(content)


@pytest.mark.parametrize('classes', [('persn',), ('bicycle', 'person')])
def test_classes_that_are_not_those_of_the_file(coco, classes):
    check_config(config(DETECTOR, coco, metainfo={'classes': ('person', 'car')}))
    names = coco / 'names.txt'
    names.write_text('person\ncar\n')
    check_config(config(DETECTOR, coco, metainfo={'classes': str(names)}))
    expected = f'expected the categories {", ".join(classes)}, found .*\n.*num_classes'
    with pytest.raises(DataError, match=expected):
        check_config(config(DETECTOR, coco, metainfo={'classes': classes}))


@pytest.mark.parametrize(
    ('text', 'found'),
    [
        ('{"images": [', 'instances_train2017.json: breaks off'),
        ('[]', 'found no images in .*instances_train2017.json'),
        ('{"images": [], "annotations": [{}]}', r'annotations\[0\] needs image_id'),
        ('{"images": [{"id": 1}]}', r'images\[0\] needs id, file_name, height, width'),
        ('{"images": [], "annotations": [], "categories": []}', 'found none in'),
    ],
)
def test_a_damaged_annotation_file_is_found(coco, text, found):
    (coco / 'annotations' / 'instances_train2017.json').write_text(text)
    with pytest.raises(DataError, match=f'dataset.ann_file of .*{found}'):
        check_config(config(DETECTOR, coco))


def test_large_annotation_files_are_searched_not_parsed(coco, monkeypatch):
    content = config(DETECTOR, coco)
    monkeypatch.setattr(checking, 'PARSED_BYTES', 0)
    check_config(content)
    (coco / 'train2017' / '000000000001.jpg').unlink()
    with pytest.raises(DataError, match='expected the 4 images of .*found 3'):
        check_config(content)
    path = coco / 'annotations' / 'instances_train2017.json'
    path.write_text(path.read_text()[:-3])
    with pytest.raises(DataError, match='breaks off after 4 images'):
        check_config(content)


@pytest.mark.parametrize('folder', ['images', 'annotations'])
def test_images_and_masks_belong_together(tmp_path, folder):
    content = config(SEGMENTOR, make_ade20k(tmp_path / 'ade'))
    check_config(content)
    gone = next((tmp_path / 'ade' / folder / 'training').iterdir())
    gone.unlink()
    found = (
        rf'an image and a mask for each of 4 .*{gone.name}\.\n.*docs/segmentation.md'
    )
    with pytest.raises(DataError, match=found):
        check_config(content)


def test_suffixes_are_compared_as_the_framework_does(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    for path in sorted(root.rglob('*.jpg')):
        path.rename(path.with_name(f'{path.stem}_leftImg8bit.JPG'))
    for path in sorted(root.rglob('*.png')):
        path.rename(path.with_name(f'{path.stem}_labelIds.png'))
    suffixes = dict(img_suffix='_leftImg8bit.JPG', seg_map_suffix='_labelIds.png')
    check_config(config(SEGMENTOR, root, **suffixes))
    with pytest.raises(DataError, match=r'an image and a mask.*found 0 of them'):
        check_config(config(SEGMENTOR, root, **{**suffixes, 'img_suffix': '.jpg'}))


def test_a_list_of_names_is_what_counts(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    content = config(SEGMENTOR, root)
    (root / 'images/training/ADE_train_00000002.jpg').unlink()
    (root / 'some.txt').write_text('ADE_train_00000001\nADE_train_00000003\n')
    content.train_dataloader.dataset.ann_file = 'some.txt'
    check_config(content, TRAIN)
    (root / 'some.txt').write_text('ADE_train_00000001\nADE_train_00000002\n')
    with pytest.raises(DataError, match='the 2 samples of .*some.txt.*00000002'):
        check_config(content, TRAIN)


def test_imagenet_lists_and_class_folders(tmp_path):
    root = make_imagenet(tmp_path / 'imagenet')
    content = config(CLASSIFIER, root)
    content.train_dataloader.dataset.data_prefix = {'img_path': 'train'}
    check_config(content)
    (root / 'train/n00000010/1.JPEG').unlink()
    with pytest.raises(DataError, match='no n00000010/1.JPEG.*\n.*docs/pretrain.md'):
        check_config(content)
    (root / 'meta' / 'train.txt').unlink()
    with pytest.raises(DataError, match='expected 1000 class folders .*found 4'):
        check_config(content)


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('cub', 'train_test_split.txt'),
        ('cars', 'devkit/cars_test_annos_withlabels.mat'),
        ('aircraft', 'data/images_variant_test.txt'),
    ],
)
def test_lists_of_fine_grained_sets(name, file, tmp_path):
    root = FINE_GRAINED[name](tmp_path / 'data')
    content = config(f'finetune/resnet50-gap_1xb10_{name}', root)
    check_config(content)
    (root / file).unlink()
    with pytest.raises(DataError, match=rf'data_root of .*{file} in(.|\n)*finetune.md'):
        check_config(content)


def test_images_of_inaturalist_have_a_species(tmp_path):
    root = FINE_GRAINED['inat2017'](tmp_path / 'data')
    settings = dict(data_root=str(root), ann_file='train2017.json')
    data = INaturalist(**settings)
    assert [data[i]['gt_label'] for i in range(2)] == [0, 5088]
    assert data.metainfo['classes'][5088] == 'Species 5088'
    text = (root / 'train2017.json').read_text()
    (root / 'train2017.json').write_text(text.replace('"annotations": [', '"x": ['))
    with pytest.raises(DataError, match='1.jpg has no annotation'):
        INaturalist(**settings)
    changed = text.replace('"category_id": 5088', '"category_id": 9999')
    (root / 'train2017.json').write_text(changed)
    with pytest.raises(DataError, match='2.jpg has no annotation'):
        INaturalist(**settings)


def test_remote_data_is_left_to_the_framework():
    check_config(config(DETECTOR, 's3://bucket/coco/'))

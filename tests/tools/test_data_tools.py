"""tools/check_data.py and tools/make_subset.py through their command lines."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny_datasets import make_ade20k, make_coco, make_imagenet

from mmgcp.datasets.subsets import choose
from mmgcp.datasets.verifying import verify_ade20k, verify_coco, verify_imagenet

ROOT = Path(__file__).resolve().parents[2]


def run(tool: str, *args) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / 'tools' / tool, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope='module')
def coco_once(tmp_path_factory):
    pytest.importorskip('mmdet')
    return make_coco(tmp_path_factory.mktemp('coco') / 'coco')


@pytest.fixture
def coco(coco_once, tmp_path):
    return Path(shutil.copytree(coco_once, tmp_path / 'coco'))


def change(root: Path, edit) -> None:
    path = root / 'annotations' / 'instances_train2017.json'
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_check_data_tells_a_sample_from_the_published(coco):
    passed = run('check_data.py', 'coco', coco, '--any-size')
    assert passed.returncode == 0, passed.stderr
    assert '0 errors' in passed.stdout
    counted = run('check_data.py', 'coco', coco, '--splits', 'val2017', '--fast')
    assert counted.returncode == 1
    assert (
        'val2017, images in the annotations: expected 5000, found 2' in counted.stdout
    )


def test_check_data_shows_progress_on_stderr(coco):
    result = run('check_data.py', 'coco', coco, '--any-size', '--fast')
    assert 'train2017 annotations' in result.stderr
    assert '100%' in result.stderr


def test_check_data_without_data_says_so(tmp_path):
    result = run('check_data.py', 'coco', tmp_path)
    assert result.returncode == 1
    assert 'instances_train2017.json' in result.stderr
    assert 'Traceback' not in result.stderr


def edit(path, value):
    def apply(content):
        item = content['annotations'][1]
        item[path] = value(item[path]) if callable(value) else value

    return apply


@pytest.mark.parametrize(
    ('change_of', 'finding'),
    [
        (edit('bbox', [150, 8, 60, 60]), 'leaves its image of 160 x 120'),
        (edit('bbox', [1, 2, 3]), 'is not four numbers'),
        (edit('bbox', [10, 10, -5, 5]), 'has a negative side'),
        (edit('category_id', 99), 'category 99 unknown'),
        (edit('image_id', 99), 'image 99 unknown'),
        (edit('id', 1), 'its id is given twice'),
        (edit('segmentation', [[0, 0, 500, 0, 500, 90]]), 'a polygon leaves its image'),
        (edit('segmentation', [[0, 0, 5]]), 'a polygon of 3 values'),
        (edit('segmentation', {'size': [7, 7], 'counts': []}), 'mask of [7, 7]'),
    ],
)
def test_annotations_out_of_range(coco, change_of, finding):
    change(coco, change_of)
    findings = verify_coco(coco, published=False, decode=False)
    assert any(finding in error for error in findings.errors), findings.errors


def test_an_empty_box_is_a_note(coco):
    change(coco, edit('bbox', [10, 10, 5, 0]))
    findings = verify_coco(coco, published=False, decode=False)
    assert findings.errors == []
    assert 'is empty' in findings.notes[0]


def test_broken_and_missing_images(coco):
    first, second, third = sorted((coco / 'train2017').iterdir())[:3]
    first.write_bytes(first.read_bytes()[:-60])
    second.unlink()
    Image.new('RGB', (30, 20)).save(third)
    errors = verify_coco(coco, published=False).errors
    assert len(errors) == 3
    assert any(f'{first}: cannot be decoded' in error for error in errors)
    assert f'{second}: missing' in errors
    assert f'{third}: 30 x 20, annotated as 160 x 120' in errors


def test_ade20k(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    assert verify_ade20k(root, published=False).errors == []
    counted = verify_ade20k(root, decode=False).errors
    assert any('expected 20210, found 4' in error for error in counted)
    masks = root / 'annotations' / 'training'
    Image.new('L', (160, 120), 151).save(masks / 'ADE_train_00000001.png')
    Image.new('RGB', (160, 120)).save(masks / 'ADE_train_00000002.png')
    Image.new('L', (16, 12), 1).save(masks / 'ADE_train_00000003.png')
    (masks / 'ADE_train_00000004.png').unlink()
    errors = ' '.join(verify_ade20k(root, published=False).errors)
    assert 'ADE_train_00000001.png: label 151, expected 0..150' in errors
    assert 'ADE_train_00000002.png: mode RGB, expected one channel' in errors
    assert '160 x 120, annotated as 16 x 12' in errors
    assert 'ADE_train_00000004.png: missing' in errors


def test_imagenet(tmp_path):
    root = make_imagenet(tmp_path / 'imagenet')
    assert verify_imagenet(root, published=False).errors == []
    (root / 'val' / 'n00000000' / '0.JPEG').write_bytes(b'<html>')
    (root / 'train' / 'n00000010' / '1.JPEG').unlink()
    errors = ' '.join(verify_imagenet(root).errors)
    assert 'class folders: expected 1000, found 4' in errors
    assert 'n00000010: no image in it' in errors
    assert '0.JPEG: cannot be decoded' in errors


def test_subsets_are_nested_deterministic_and_by_name():
    names = [f'{i:06d}.jpg' for i in range(1000)]
    tenth, hundredth = choose(names, 10), choose(reversed(names), 1)
    assert len(tenth) == 100
    assert len(hundredth) == 10
    assert set(hundredth) < set(tenth)
    # The digest of names decides: these stay the same on every machine.
    assert hundredth[:3] == EXPECTED
    assert choose(names, 1, seed=1) != hundredth
    assert choose(['a'], 1) == ['a']
    with pytest.raises(ValueError, match='percent=0'):
        choose(names, 0)


EXPECTED = ['000146.jpg', '000214.jpg', '000348.jpg']


def test_make_subset_of_coco(coco):
    result = run('make_subset.py', 'coco', coco, '--percent', 50)
    assert result.returncode == 0, result.stderr
    path = coco / 'annotations' / 'instances_train2017_50pct_seed0.json'
    assert f'{path}: 2 images' in result.stdout
    content = json.loads(path.read_text())
    ids = {image['id'] for image in content['images']}
    assert len(ids) == 2
    assert {item['image_id'] for item in content['annotations']} == ids
    assert len(content['categories']) == 80


def test_make_subset_of_ade20k_and_its_errors(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    result = run('make_subset.py', 'ade20k', root, '--percent', 50, 75)
    assert result.returncode == 0, result.stderr
    half = (root / 'lists' / 'training_50pct_seed0.txt').read_text().split()
    more = (root / 'lists' / 'training_75pct_seed0.txt').read_text().split()
    assert len(half) == 2
    assert set(half) < set(more)
    missing = run('make_subset.py', 'ade20k', tmp_path)
    assert missing.returncode == 1
    assert 'found none' in missing.stderr

"""The generator: reproducible, complete, with splits that share no digit."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('sklearn')

from mmgcp.datasets.scenes import ScenesSpec, check_scenes, make_scenes
from mmgcp.datasets.digits import load_sources

ROOT = Path(__file__).parents[2]
SMALL = ScenesSpec(
    seed=3, train=4, val=2, test=3, size=64, crops=2, eval_crops=1, digits=5
)


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    assert make_scenes(out, SMALL)
    return out


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def test_same_seed_same_bytes(scenes, tmp_path):
    make_scenes(tmp_path / 'again', SMALL)
    assert contents(tmp_path / 'again') == contents(scenes)


def test_another_seed_gives_other_images(scenes, tmp_path):
    make_scenes(tmp_path / 'other', ScenesSpec(**{**vars(SMALL), 'seed': 4}))
    name = 'detection/train/000000.png'
    assert (tmp_path / 'other' / name).read_bytes() != (scenes / name).read_bytes()


def test_more_scenes_begin_with_the_fewer(scenes, tmp_path):
    make_scenes(tmp_path / 'more', ScenesSpec(**{**vars(SMALL), 'train': 6}))
    more, fewer = contents(tmp_path / 'more'), contents(scenes)
    shared = [name for name in fewer if name.endswith('.png')]
    assert all(more[name] == fewer[name] for name in shared)


def test_splits_share_no_digit():
    sources = load_sources(seed=0)
    parts = [set(part.identities.tolist()) for part in sources.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    for part in sources.values():
        assert set(part.labels.tolist()) == set(range(10))


def test_splits_share_no_background():
    from sklearn.datasets import load_sample_images

    sources = load_sources(seed=0)
    for index, image in enumerate(load_sample_images().images):
        strips = [part.photographs[index] for part in sources.values()]
        assert np.array_equal(np.concatenate(strips, axis=1), image)


def test_written_digits_belong_to_their_split(scenes):
    manifest = json.loads((scenes / 'manifest.json').read_text())
    for split, identities in manifest['identities'].items():
        file = scenes / 'detection' / 'annotations' / f'instances_{split}.json'
        used = {a['identity'] for a in json.loads(file.read_text())['annotations']}
        crops = (scenes / 'classification' / split).glob('*/*.png')
        used |= {int(path.stem.split('_')[0]) for path in crops}
        assert used
        assert used <= set(identities)


def test_boxes_and_masks_agree(scenes):
    mask_api = pytest.importorskip('pycocotools.mask')
    file = scenes / 'detection' / 'annotations' / 'instances_train.json'
    annotations = json.loads(file.read_text())['annotations']
    drawn: dict[int, np.ndarray] = {}
    for annotation in annotations:
        rle = annotation['segmentation']
        mask = mask_api.decode(mask_api.frPyObjects(rle, *rle['size'])).astype(bool)
        rows, columns = np.nonzero(mask)
        left, top, width, height = annotation['bbox']
        assert (columns.min(), rows.min()) == (left, top)
        assert (columns.max() + 1, rows.max() + 1) == (left + width, top + height)
        assert mask.sum() == annotation['area'] > 0
        before = drawn.setdefault(annotation['image_id'], np.zeros_like(mask))
        assert not (before & mask).any(), 'masks are of what can be seen'
        before |= mask


def test_segmentation_labels(scenes):
    values = set()
    for path in (scenes / 'segmentation' / 'annotations').rglob('*.png'):
        image = scenes / 'segmentation' / 'images' / path.parent.name / path.name
        labels = np.asarray(Image.open(path))
        assert labels.shape == np.asarray(Image.open(image)).shape[:2] == (64, 64)
        values |= set(np.unique(labels).tolist())
    assert 0 in values
    assert len(values) > 5
    assert values <= set(range(11))


def test_fast_path_and_damage(tmp_path):
    out = tmp_path / 'scenes'
    make_scenes(out, SMALL)
    assert make_scenes(out, SMALL) is False
    victim = out / 'detection' / 'val' / '000001.png'
    good = victim.read_bytes()
    victim.write_bytes(good[:-1])
    (out / 'segmentation' / 'images' / 'test' / '000002.png').unlink()
    problems = ' '.join(check_scenes(out, SMALL))
    assert 'val/000001.png has changed' in problems
    assert 'test/000002.png is missing' in problems
    assert make_scenes(out, SMALL) is True
    assert victim.read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(FileExistsError, match=r'no manifest\.json'):
        make_scenes(tmp_path, SMALL)
    assert (tmp_path / 'thesis.tex').read_text() == 'precious'


def test_an_interrupted_run_leaves_the_old_content(scenes, tmp_path):
    out = tmp_path / 'scenes'
    make_scenes(out, SMALL)
    before = contents(out)
    calls = iter(range(7))

    def advance():
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(out, ScenesSpec(**{**vars(SMALL), 'seed': 9}), advance)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


@pytest.mark.parametrize(
    'wrong', [{'train': 0}, {'size': 16}, {'seed': -1}, {'digits': 3}]
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ScenesSpec(**wrong)


def test_command_line(tmp_path):
    options = '--train 2 --val 1 --test 1 --size 48 --crops 1 --eval-crops 1 --digits 5'
    command = [sys.executable, 'tools/make_scenes.py', str(tmp_path / 's')]
    first = subprocess.run(
        [*command, *options.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert first.returncode == 0, first.stderr
    second = subprocess.run(
        [*command, *options.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert 'already there' in second.stderr
    wrong = subprocess.run([*command, '--size', '8'], cwd=ROOT, capture_output=True)
    assert wrong.returncode == 1
    assert b'at least 32' in wrong.stderr


def test_read_by_the_frameworks(scenes):
    pytest.importorskip('mmdet')
    from mmdet.datasets import CocoDataset
    from mmpretrain.datasets import CustomDataset
    from mmseg.datasets import ADE20KDataset

    crops = CustomDataset(
        data_root=str(scenes / 'classification'), data_prefix='train', pipeline=[]
    )
    assert list(crops.CLASSES) == list('0123456789')
    assert len(crops) == 10 * 3 * 2
    boxes = CocoDataset(
        data_root=str(scenes / 'detection'),
        ann_file='annotations/instances_train.json',
        data_prefix={'img': 'train/'},
        metainfo={'classes': [str(i) for i in range(10)]},
        pipeline=[],
    )
    assert len(boxes) == 4
    assert all(i['mask'] for i in boxes.get_data_info(0)['instances'])
    regions = ADE20KDataset(
        data_root=str(scenes / 'segmentation'),
        img_suffix='.png',
        data_prefix={
            'img_path': 'images/training',
            'seg_map_path': 'annotations/training',
        },
        pipeline=[],
    )
    assert len(regions) == 4

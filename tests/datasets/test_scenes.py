"""The generator: reproducible, complete, with splits that share no digit."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('sklearn')

from mmgcp.datasets import scenes as generator
from mmgcp.datasets.checking import DataError
from mmgcp.datasets.compose import load_sources
from mmgcp.datasets.scenes import ScenesSpec, make_scenes

SMALL = ScenesSpec(
    seed=3, train=4, val=2, test=3, size=64, crops=2, eval_crops=1, digits=5
)
# Of pixels and annotations. Whoever changes it raises GENERATOR_VERSION.
DIGEST = '8eb3cf2f7b1a3228ba684f210fedc7223d53be5893e842433176735d1e5724e0'


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    assert make_scenes(out, SMALL)
    return out


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_a_seed_always_gives_the_same_data(scenes):
    digest = hashlib.sha256()
    for name, content in contents(scenes).items():
        if name.endswith('.png'):
            pixels = np.asarray(Image.open(scenes / name))
            digest.update(name.encode() + pixels.tobytes())
        elif 'instances' in name:
            digest.update(content)
    assert digest.hexdigest() == DIGEST


def test_more_scenes_begin_with_the_fewer_and_another_seed_does_not(scenes, tmp_path):
    for name, spec in (
        ('more', replace(SMALL, train=6)),
        ('b', replace(SMALL, seed=4)),
    ):
        make_scenes(tmp_path / name, spec)
    fewer, more = contents(scenes), contents(tmp_path / 'more')
    assert all(more[name] == fewer[name] for name in fewer if name.endswith('.png'))
    first = 'detection/train/000000.png'
    assert contents(tmp_path / 'b')[first] != fewer[first]


def test_splits_share_no_digit_and_no_background():
    from sklearn.datasets import load_sample_images

    sources = load_sources(seed=0)
    parts = [set(part.identities.tolist()) for part in sources.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    for part in sources.values():
        assert set(part.labels.tolist()) == set(range(10))
    for index, image in enumerate(load_sample_images().images):
        strips = [part.photographs[index] for part in sources.values()]
        assert np.array_equal(np.concatenate(strips, axis=1), image)


def test_boxes_and_masks_agree(scenes):
    mask_api = pytest.importorskip('pycocotools.mask')
    file = scenes / 'detection' / 'annotations' / 'instances_train.json'
    drawn: dict[int, np.ndarray] = {}
    for annotation in json.loads(file.read_text())['annotations']:
        rle = annotation['segmentation']
        rle = mask_api.frPyObjects(rle, *rle['size'])
        assert mask_api.toBbox(rle).tolist() == annotation['bbox']
        assert mask_api.area(rle) == annotation['area'] > 0
        mask = mask_api.decode(rle).astype(bool)
        before = drawn.setdefault(annotation['image_id'], np.zeros_like(mask))
        assert not (before & mask).any(), 'masks are of what can be seen'
        before |= mask


def test_damage_is_found_and_repaired(tmp_path):
    out = tmp_path / 'scenes'
    make_scenes(out, SMALL)
    assert make_scenes(out, SMALL) is False
    before = contents(out)
    victim = out / 'detection' / 'val' / '000001.png'
    victim.write_bytes(victim.read_bytes()[:-1])
    assert make_scenes(out, SMALL) is True
    (out / 'segmentation' / 'images' / 'test' / '000002.png').unlink()
    assert make_scenes(out, SMALL) is True
    assert contents(out) == before


def test_an_interrupted_run_leaves_the_old_content(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    out = tmp_path / 'scenes'
    make_scenes(out, SMALL)
    before = contents(out)
    monkeypatch.setattr(generator, '_write_segmentation', interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_scenes(out, replace(SMALL, seed=9))
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / 'thesis.tex').write_text('precious')
    with pytest.raises(DataError, match=r'no manifest\.json'):
        make_scenes(tmp_path, SMALL)
    assert (tmp_path / 'thesis.tex').read_text() == 'precious'

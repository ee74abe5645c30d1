"""Published archives, made here in small, in the layout of the study."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mmgcp.datasets import photographs
from mmgcp.datasets.checking import DataError
from mmgcp.datasets.photographs import CELLS, SPLITS, prepare_photographs
from mmgcp.utils.files import read_json

pytestmark = pytest.mark.once

BOX = """<annotation><size><width>20</width><height>10</height></size>
<object><name>WBC</name><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>8</xmax>
<ymax>5</ymax></bndbox></object>{}</annotation>"""
EMPTY = BOX[BOX.index('<object>') : BOX.index('{}')].replace('>8<', '>2<')


@pytest.fixture
def originals(tmp_path, monkeypatch):
    """The three archives as their authors lay them out."""
    monkeypatch.setattr(photographs, 'CIFAR_VAL', 4)
    draw = np.random.default_rng(0)
    source = tmp_path / 'source'
    for name in ('cifar-10-batches-bin', 'BCCD/Annotations', 'BCCD/JPEGImages'):
        (source / name).mkdir(parents=True)
    cifar = source / 'cifar-10-batches-bin'
    (cifar / 'batches.meta.txt').write_text('cat\ndog\n')
    for name, count in (('data_batch_1', 6), ('data_batch_2', 2), ('test_batch', 2)):
        records = draw.integers(0, 256, (count, 3073), np.uint8)
        records[:, 0] = np.arange(count) % 2
        records.tofile(cifar / f'{name}.bin')
    lists = source / 'BCCD/ImageSets/Main'
    lists.mkdir(parents=True)
    for split in SPLITS:
        (lists / f'{split}.txt').write_text(f'{split}_1\n')
        xml = BOX.format(EMPTY if split == 'val' else '')
        (source / f'BCCD/Annotations/{split}_1.xml').write_text(xml)
        picture = Image.fromarray(draw.integers(0, 256, (10, 20, 3), np.uint8))
        picture.save(source / f'BCCD/JPEGImages/{split}_1.jpg')
        for folder in (split, f'{split}annot'):
            (source / 'CamVid' / folder).mkdir(parents=True)
        picture.save(source / f'CamVid/{split}/a.png')
        labels = np.arange(200, dtype=np.uint8).reshape(10, 20) % 12
        Image.fromarray(labels).save(source / f'CamVid/{split}annot/a.png')
    archives = {}
    for name, folder, kind in (
        ('cifar10', 'cifar-10-batches-bin', 'gztar'),
        ('bccd', 'BCCD', 'zip'),
        ('camvid', 'CamVid', 'zip'),
    ):
        made = shutil.make_archive(str(tmp_path / name), kind, source, folder)
        archives[name] = tmp_path / made
    return archives


def test_originals_become_the_layout(originals, tmp_path):
    out = tmp_path / 'out'
    found = prepare_photographs(originals, out)
    assert not any(one.errors for one in (found['cifar10'], found['camvid']))
    counts = {n: [c['images'] for c in f.counts.values()] for n, f in found.items()}
    assert counts == {'cifar10': [4, 4, 2], 'bccd': [1, 1, 1], 'camvid': [1, 1, 1]}
    content = read_json(out / 'bccd/val.json')
    assert [a['bbox'] for a in content['annotations']] == [[2, 1, 6, 4], [2, 1, 0, 4]]
    assert content['annotations'][0]['category_id'] == 1 + CELLS.index('WBC')
    assert any('bbox [2.0, 1.0, 0.0, 4.0] is empty' in n for n in found['bccd'].notes)
    assert not list(out.glob('.*'))
    # The layout itself is an archive, too; nothing is unpacked twice.
    again = shutil.make_archive(str(tmp_path / 'laid'), 'gztar', out, 'camvid')
    other = tmp_path / 'other'
    prepare_photographs({'camvid': tmp_path / again}, other)
    originals['camvid'].unlink()
    prepare_photographs({'camvid': originals['camvid']}, other)
    masks = [np.asarray(Image.open(p / 'camvid/ann/val/a.png')) for p in (out, other)]
    assert np.array_equal(*masks)


@pytest.mark.parametrize('fault', ['cut', 'missing', 'other'])
def test_bad_archives_are_named(originals, tmp_path, fault):
    path = originals['cifar10']
    if fault == 'cut':
        path.write_bytes(path.read_bytes()[:-200])
    elif fault == 'missing':
        path.unlink()
    else:
        path = originals['camvid']
    with pytest.raises(DataError, match=path.name):
        prepare_photographs({'cifar10': path}, tmp_path / 'out')
    assert not list((tmp_path / 'out').glob('*'))

"""check_data.py, make_scenes.py and make_subset.py through their command lines."""

import json
import runpy
from pathlib import Path

import pytest
from tiny_datasets import make_ade20k, make_coco

from mmgcp.datasets.checking import DataError
from mmgcp.datasets.subsets import choose

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def run(tool: str, *args) -> int | None:
    return runpy.run_path(str(TOOLS / tool))['main']([str(arg) for arg in args])


@pytest.fixture
def coco(tmp_path):
    pytest.importorskip('mmdet')
    return make_coco(tmp_path / 'coco')


def test_check_data_tells_a_sample_from_the_published(coco, capsys):
    assert run('check_data.py', 'coco', coco, '--any-size') == 0
    assert '0 errors' in capsys.readouterr().out
    with pytest.raises(DataError, match='1 errors in the data'):
        run('check_data.py', 'coco', coco, '--splits', 'val2017', '--fast')
    assert 'val2017: expected 5000 images, found 2' in capsys.readouterr().out


def test_check_data_of_own_data_writes_everything_down(coco, tmp_path):
    file = coco / 'annotations' / 'instances_train2017.json'
    content = json.loads(file.read_text())
    used = {item['category_id'] for item in content['annotations']}
    content['categories'] = [c for c in content['categories'] if c['id'] in used]
    content['annotations'][0]['bbox'] = [0, 0]
    file.write_text(json.dumps(content))
    train = dict(images=str(coco / 'train2017'), annotations=str(file))
    data, out = tmp_path / 'data.json', tmp_path / 'faults.json'
    data.write_text(json.dumps({'detection': {'train': train}}))
    with pytest.raises(DataError, match=r'faults.json. First: .* is not \[x, y'):
        run('check_data.py', 'own', data, '--out', out)
    assert len(json.loads(out.read_text())['detection']['errors']) == 1
    assert run('check_data.py', 'own', data, '--allow-faults') == 0


def test_make_scenes(tmp_path, capsys):
    size = '--train 2 --val 1 --test 1 --size 48 --crops 1 --eval-crops 1 --digits 5'
    run('make_scenes.py', tmp_path / 's', *size.split())
    run('make_scenes.py', tmp_path / 's', *size.split())
    assert 'already there' in capsys.readouterr().out


def test_a_choice_depends_on_seed_and_names_alone():
    names = [f'{i:06d}.jpg' for i in range(1000)]
    ten, one = choose(names, 10), choose(reversed(names), 1)
    assert len(ten) == 100
    # The digest of names decides: these stay the same on every machine.
    assert one[:3] == ['000146.jpg', '000214.jpg', '000348.jpg']
    assert set(one) < set(ten)
    assert choose(names, 10, seed=1) != ten
    assert len(choose(names[:3], 1)) == 1
    for percent in (0, 101):
        with pytest.raises(DataError, match='more than 0 and at most 100'):
            choose(names, percent)


def test_make_subset_of_coco(coco, capsys):
    run('make_subset.py', 'coco', coco, '--percent', 50)
    path = coco / 'annotations' / 'instances_train2017_50pct_seed0.json'
    assert f'{path}: 2 images' in capsys.readouterr().out
    content = json.loads(path.read_text())
    ids = {image['id'] for image in content['images']}
    assert len(ids) == 2
    assert {item['image_id'] for item in content['annotations']} == ids
    assert len(content['categories']) == 80


def test_make_subset_of_ade20k_and_its_errors(tmp_path):
    root = make_ade20k(tmp_path / 'ade')
    run('make_subset.py', 'ade20k', root, '--percent', 50, 75)
    half = (root / 'lists' / 'training_50pct_seed0.txt').read_text().split()
    more = (root / 'lists' / 'training_75pct_seed0.txt').read_text().split()
    assert len(half) == 2
    assert set(half) < set(more)
    with pytest.raises(DataError, match='found none'):
        run('make_subset.py', 'ade20k', tmp_path)

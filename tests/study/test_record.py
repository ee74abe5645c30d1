"""Records of finished studies, the page made from them, and power after a pilot."""

import json
import re
from functools import partial
from pathlib import Path

import pytest

from mmgcp.analysis.tables import POWER_HEAD, power_rows
from mmgcp.study import derived_config, record
from mmgcp.study.config import load_study, select
from mmgcp.study.plan import Planner
from mmgcp.study.results import collect, seconds_of_a_seed
from mmgcp.study.step import StudyError, hash_steps
from mmgcp.utils.errors import UserError

from .fake import VALUES, fake_steps, fake_study, run_steps

ROOT = Path(__file__).parents[2]
SCENES = ROOT / 'configs/studies/scenes.py'


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp('study')
    steps = fake_steps(folder)
    run_steps(steps, folder)
    return folder, steps


def write(finished, file, **changes):
    folder, steps = finished
    study = {**fake_study(), **changes}
    report = collect(study, steps)
    record.write_record(study, report, steps, folder, ROOT, file)
    return file


def test_a_record_holds_values_and_no_place(finished, tmp_path):
    text = write(finished, tmp_path / 'fake.json').read_text()
    found = json.loads(text)
    values = found['values']['segmentation']['mIoU']['encoders']['isqrt']
    assert values == {str(seed): value for seed, value in VALUES['isqrt'].items()}
    assert found['study']['hash'] == fake_study()['hash']
    assert 'WORK_DIR/steps/segmentation/gap/seed0' in text
    assert found['command'].startswith('python tools/study.py fake.py --seeds 3')
    assert found['test_images'] == {}
    assert not re.search(r'[\s\'"=]/\w', text)
    assert found['versions']['torch']


def test_an_unfinished_study_is_not_recorded(finished, tmp_path):
    folder, steps = finished
    with pytest.raises(StudyError, match=r'fake\.py is not finished: .* is not run'):
        write((folder, fake_steps(folder / 'other')), tmp_path / 'fake.json')
    with pytest.raises(StudyError, match=r'give the name of a \.json file'):
        write(finished, tmp_path / 'fake.txt')
    assert not list(tmp_path.iterdir())


def test_page_of_records(finished, tmp_path, run_tool):
    write(finished, tmp_path / 'records/a.json')
    page = tmp_path / 'results.md'
    done = run_tool('results_page', '--records', tmp_path / 'records', '--out', page)
    assert done.status == 0, done.err
    text = page.read_text()
    assert '| ISQRT | 12.00 | [9.52, 14.48] | 1.00 | 3 |' in text
    assert '| ISQRT − GAP | +2.00 | [-0.48, +4.48] | 0.074 | 0.074 |' in text
    assert 'No study has been recorded' not in text


def test_records_of_two_designs_share_no_table(finished, tmp_path):
    write(finished, tmp_path / 'a.json')
    write(finished, tmp_path / 'b.json', hash='cd' * 32)
    with pytest.raises(
        UserError, match=r'a\.json and .*b\.json have different designs'
    ):
        record.results_page(tmp_path)
    write(finished, tmp_path / 'b.json', hash='cd' * 32, name='other')
    assert record.results_page(tmp_path).count('| ISQRT | 12.00 |') == 2
    (tmp_path / 'c.json').write_text('{}')
    with pytest.raises(UserError, match=r'c\.json is no record'):
        record.results_page(tmp_path)


@pytest.mark.once
def test_the_page_in_docs_is_that_of_the_records():
    page = (ROOT / 'docs/results.md').read_text()
    assert page == record.results_page(ROOT / 'docs/results')


def test_the_command_repeats_the_study(finished, tmp_path):
    changed = {'nproc': 2, 'options': {'seeds': [1, 2], 'margin': 3}}
    found = json.loads(write(finished, tmp_path / 'a.json', **changed).read_text())
    end = "segmentation --nproc 2 --cfg-options 'seeds=[1, 2]' margin=3"
    assert found['command'].endswith(end)


def power(seeds, steps):
    report = collect(fake_study(seeds), steps)
    seconds = partial(seconds_of_a_seed, steps)
    return power_rows(report['results'], report['study'], seconds)


def test_power_of_a_pilot(finished):
    _, steps = finished
    seconds = {
        name: sum(s.record()['seconds'] for s in steps if s.meta['encoder'] == name) / 3
        for name in VALUES
    }
    row, _ = power([0, 1, 2], steps)
    found = dict(zip(POWER_HEAD[:6], row[:6], strict=True))
    assert found == {
        'end-point': 'segmentation/mIoU',
        'comparison': 'ISQRT − GAP',
        'seeds so far': '3',
        'difference': '+2.00',
        'found so far': '3.26',
        'seeds for the difference': '5',
    }
    # A margin of five spreads takes three seeds; both encoders have to run.
    hours = (seconds['isqrt'] + seconds['gap']) / 3600
    assert row[6:] == [f'{5 * hours:.1f}', '3', f'{3 * hours:.1f}']


def test_power_takes_two_seeds(tmp_path):
    steps = fake_steps(tmp_path, seeds=[0])
    with pytest.raises(UserError, match='no two encoders with results'):
        power([0], steps)
    run_steps(steps, tmp_path)
    message = 'has one seed of isqrt and gap in segmentation'
    with pytest.raises(UserError, match=message):
        power([0], steps)


def design(tmp_path, text='', folder='w', **selection):
    file = tmp_path / 'study.py'
    file.write_text(f'_base_ = {str(SCENES)!r}\n{text}\n')
    study = select(load_study(file), seeds=2, **selection)
    folder = tmp_path / folder
    steps = Planner(study, folder, ROOT).plan()
    return record.study_hash(study, steps, folder, ROOT), hash_steps(steps)


@pytest.fixture
def _configs_read_again():
    yield
    derived_config._read.cache_clear()


@pytest.mark.usefixtures('_configs_read_again')
def test_hash_is_that_of_the_design(tmp_path, monkeypatch):
    asked = design(tmp_path, "primary = ['segmentation/mIoU']")
    for text in (
        "primary = ['detection/coco/bbox_mAP']",
        "primary = ['segmentation/mIoU']; margin = 2",
        "primary = ['segmentation/mIoU']; comparison = 'welch'",
        "primary = ['segmentation/mIoU']; contrasts = [['isqrt', 'gap-native']]",
    ):
        changed = design(tmp_path, text)
        assert changed[0] != asked[0]
        # The trainings know nothing of it: what has run stays.
        assert changed[1] == asked[1]
    again = design(tmp_path, "primary = ['segmentation/mIoU']", folder='elsewhere')
    assert again[0] == asked[0]
    # Another place of the data; configs are read once in a process.
    monkeypatch.setenv('MMGCP_SCENES', str(tmp_path / 'scenes'))
    derived_config._read.cache_clear()
    assert design(tmp_path, "primary = ['segmentation/mIoU']")[0] == asked[0]
    shorter = (
        'tasks = dict(segmentation=dict(overrides=dict(train_cfg=dict(max_epochs=3))))'
    )
    assert (
        design(tmp_path, f"primary = ['segmentation/mIoU']; {shorter}")[0] != asked[0]
    )

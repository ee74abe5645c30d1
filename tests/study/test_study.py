"""A real study of scenes, as small as it gets."""

import json
import re
from pathlib import Path

import pytest

pytest.importorskip('mmcv._ext')

from mmgcp.study.run import run_study

from .structure import STORED, structure

ROOT = Path(__file__).parents[2]
STUDY = """
_base_ = {base!r}
_scenes = {scenes!r}
_here = dict(num_workers=0, persistent_workers=False)
_short = dict(
    train_cfg=dict(max_epochs=1, val_interval=1),
    train_dataloader=dict(batch_size=2, **_here),
    auto_scale_lr=dict(base_batch_size=2),
    val_dataloader=_here,
    test_dataloader=_here,
)
_size = dict(train=4, val=2, test=2, crops=1, eval_crops=1, size=64, digits=5)
data = dict(
    command=['tools/make_scenes.py', _scenes]
    + [f'--{{key.replace("_", "-")}}={{value}}' for key, value in _size.items()],
    result=_scenes + '/manifest.json',
)
encoders = dict(isqrt=dict(overrides=_short))
tasks = dict(segmentation=dict(overrides=_short))
seeds = [0]
costs = False
pictures = 1
"""


@pytest.mark.slow
def test_study_of_scenes(tmp_path, monkeypatch, capsys):
    scenes = tmp_path / 'scenes'
    base = str(ROOT / 'configs/studies/scenes.py')
    file = tmp_path / 'mini.py'
    file.write_text(STUDY.format(base=base, scenes=str(scenes)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    chosen = dict(work_dir='w', jobs=1, encoders=['isqrt'], tasks=['segmentation'])
    assert run_study(str(file), ROOT, **chosen) == 0, capsys.readouterr().out

    report = json.loads(Path('w/report.json').read_text())
    assert {step['state'] for step in report['steps']} == {'done'}
    for task, metric in (('pretrain', 'accuracy/top1'), ('segmentation', 'mIoU')):
        row = report['results'][task][metric]['encoders']['isqrt']
        stored = Path(f'w/steps/{task}/isqrt/seed0/metrics.json')
        assert row['mean'] == json.loads(stored.read_text())[metric]
        assert report['curves'][task]['training loss']['isqrt']['0']
    log = Path('w/steps/segmentation/isqrt/seed0/log.txt').read_text()
    # The strict initializer says which file filled the encoder.
    assert re.search(r'encoder\.pth.*sha256', log)
    [sample] = report['pictures']['segmentation']['samples']
    for name in (sample['truth'], *sample['predictions'].values()):
        assert Path('w', name).read_bytes().startswith(b'\x89PNG')

    # One file for both stacks: what reads a report of one reads that of the other.
    assert structure(report) == STORED.read_text().splitlines()

    capsys.readouterr()
    assert run_study(str(file), ROOT, **chosen) == 0
    assert capsys.readouterr().out.count('done before') == len(report['steps'])

    assert run_study(str(file), ROOT, record='record.json', **chosen) == 0
    text = Path('record.json').read_text()
    record = json.loads(text)
    assert record['data_sha256'] == [report['steps'][0]['result_sha256']]
    values = record['values']['segmentation']['mIoU']['encoders']['isqrt']
    assert list(values) == ['0']
    assert str(tmp_path) not in text

"""A real study of scenes, as small as it gets, through the command line."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmcv._ext')

from .structure import STORED, structure

ROOT = Path(__file__).parents[2]
STUDY = """
_base_ = {base!r}
_scenes = {scenes!r}
_short = dict(
    train_cfg=dict(max_epochs=1, val_interval=1), train_dataloader=dict(batch_size=4)
)
_size = ['--train', '4', '--val', '2', '--test', '2', '--crops', '1', '--eval-crops', '1']
data = dict(
    command=['tools/make_scenes.py', _scenes, '--seed', '0', *_size],
    result=_scenes + '/manifest.json',
)
encoders = dict(isqrt=dict(overrides=dict(train_cfg=dict(max_epochs=1))))
tasks = dict(detection=dict(overrides=_short))
costs = False
pictures = 1
"""


@pytest.mark.slow
def test_study_of_scenes(tmp_path):
    scenes = tmp_path / 'scenes'
    base = str(ROOT / 'configs/studies/scenes.py')
    file = tmp_path / 'mini.py'
    file.write_text(STUDY.format(base=base, scenes=str(scenes)))
    command = [sys.executable, str(ROOT / 'tools/study.py'), str(file)]
    command += ['--work-dir', str(tmp_path / 'w'), '--jobs', '1']
    command += ['--encoders', 'isqrt', '--tasks', 'detection']
    env = {**os.environ, 'MMGCP_SCENES': str(scenes)}
    options = {'capture_output': True, 'text': True, 'env': env, 'cwd': tmp_path}
    found = subprocess.run(command, **options)
    assert found.returncode == 0, found.stdout + found.stderr

    report = json.loads((tmp_path / 'w/report.json').read_text())
    assert {step['state'] for step in report['steps']} == {'done'}
    for task, metric in [
        ('pretrain', 'accuracy/top1'),
        ('detection', 'coco/bbox_mAP'),
        ('detection', 'coco/segm_mAP'),
    ]:
        row = report['results'][task][metric]['encoders']['isqrt']
        stored = tmp_path / f'w/steps/{task}-test/isqrt/seed0/metrics.json'
        value = json.loads(stored.read_text())[metric]
        scale = 100 if metric.startswith('coco/') else 1
        assert row['mean'] == pytest.approx(scale * value)
        assert 0 <= row['mean'] <= 100
        assert report['curves'][task]['training loss']['isqrt']['0']
    log = (tmp_path / 'w/steps/detection/isqrt/seed0/log.txt').read_text()
    # The strict initialiser says which file filled the encoder.
    assert re.search(r'encoder\.pth.*sha256', log)
    [sample] = report['pictures']['detection']['samples']
    for name in (sample['truth'], *sample['predictions'].values()):
        assert (tmp_path / 'w' / name).read_bytes().startswith(b'\x89PNG')

    # One file for both stacks: what reads a report of one reads that of the other.
    assert structure(report) == json.loads(STORED.read_text())

    again = subprocess.run(command, **options)
    assert again.returncode == 0
    assert again.stdout.count('done before') == len(report['steps'])

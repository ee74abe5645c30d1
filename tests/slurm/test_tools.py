"""tools/slurm_train.sh and tools/slurm_test.sh on a real Slurm, two tasks each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('sklearn')
pytest.importorskip('mmseg')

from mmgcp.datasets.scenes import ScenesSpec, make_scenes

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/segmentation/fpn_r18-w8_scenes.py'


def run_tool(slurm, *command):
    environment = dict(
        slurm,
        GPUS='0',
        TASKS='2',
        CPUS_PER_TASK='1',
        SRUN_ARGS='--time=10 --mem=0',
        PYTHON=sys.executable,
        OMP_NUM_THREADS='1',
    )
    done = subprocess.run(
        ['bash', *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=420,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_train_and_test_on_two_tasks(slurm, tmp_path):
    scenes = tmp_path / 'scenes'
    make_scenes(
        scenes,
        ScenesSpec(train=4, val=2, test=3, size=64, crops=1, eval_crops=1, digits=5),
    )
    slurm = dict(slurm, MMGCP_SCENES=str(scenes))
    work = tmp_path / 'work'
    options = ['--work-dir', work, '--cfg-options']
    output = run_tool(
        slurm,
        ROOT / 'tools/slurm_train.sh',
        *('main', 'train', CONFIG, *options),
        *('train_cfg.max_epochs=1', 'train_cfg.val_interval=1'),
        *('train_dataloader.batch_size=2', 'train_dataloader.num_workers=0'),
    )
    checkpoint = work / 'epoch_1.pth'
    assert checkpoint.is_file(), output[-3000:]

    test = [ROOT / 'tools/slurm_test.sh', 'main', 'test', CONFIG, checkpoint]
    run_tool(slurm, *test, '--work-dir', work / 'test', '--out', work / 'two.json')
    single = [sys.executable, ROOT / 'tools/test.py', CONFIG, checkpoint]
    subprocess.run(
        [*map(str, single), '--work-dir', work / 'one', '--out', work / 'one.json'],
        env=slurm,
        check=True,
        capture_output=True,
    )
    two = json.loads((work / 'two.json').read_text())
    one = json.loads((work / 'one.json').read_text())
    same = [name for name in one if 'time' not in name]
    assert 'mIoU' in same
    assert {name: two[name] for name in same} == {name: one[name] for name in same}

"""tools/slurm_train.sh and tools/slurm_test.sh on a real Slurm, a task on each node."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('sklearn')
pytest.importorskip('mmseg')

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.engine.training import evaluate

pytestmark = pytest.mark.once
ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/segmentation/fpn_r18-w8_scenes.py'


def run_tool(slurm, *command):
    environment = dict(
        slurm,
        GPUS='0',
        TASKS='2',
        CPUS_PER_TASK='1',
        SRUN_ARGS='--time=10 --mem=0 --nodes=2',
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


def test_two_nodes_are_as_good_as_one(slurm, tmp_path, monkeypatch):
    """Training like two processes of this machine, tests like this process."""
    scenes = tmp_path / 'scenes'
    sizes = dict(train=8, val=2, test=3, size=64, crops=1, eval_crops=1, digits=5)
    make_scenes(scenes, ScenesSpec(**sizes))
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    slurm = dict(slurm, MMGCP_SCENES=str(scenes))
    work = tmp_path / 'work'
    options = [
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=9',
        'randomness.seed=0',
    ]
    options += ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0']
    checkpoints = []
    for words in (
        ['slurm_train.sh', 'main', 'train', CONFIG],
        ['dist_train.sh', CONFIG, 2],
    ):
        folder = work / words[0]
        tool = [ROOT / 'tools' / words[0], *words[1:], '--work-dir', folder]
        run_tool(slurm, *tool, '--cfg-options', *options)
        checkpoints.append(folder / 'epoch_1.pth')
    two, one = (torch.load(path, weights_only=False) for path in checkpoints)
    for name, tensor in one['state_dict'].items():
        torch.testing.assert_close(two['state_dict'][name], tensor, rtol=0, atol=1e-6)

    test = [ROOT / 'tools/slurm_test.sh', 'main', 'test', CONFIG, checkpoints[0]]
    run_tool(slurm, *test, '--work-dir', work / 'test', '--out', work / 'two.json')
    two = json.loads((work / 'two.json').read_text())
    one = evaluate(CONFIG, str(checkpoints[0]), str(work / 'one'))
    same = [name for name in one if 'time' not in name]
    assert 'mIoU' in same
    assert {name: two[name] for name in same} == {name: one[name] for name in same}

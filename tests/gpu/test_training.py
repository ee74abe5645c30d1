"""Training steps and whole runs on one GPU and on two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip('sklearn')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from benchmarks.steps import Steps

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(ROOT.glob('configs/*/*_scenes.py'))
TOKENS = ROOT / 'configs/pretrain/sovit-small-dropcov_8xb128_in1k.py'
HEADS = {
    'isqrt': ROOT / 'configs/pretrain/resnet18-w8-isqrt_scenes.py',
    'dropcov': ROOT / 'configs/pretrain/resnet18-w8-dropcov_scenes.py',
    'upernet': ROOT / 'configs/segmentation/upernet_r18-w8_scenes.py',
}
pytestmark = pytest.mark.gpu
DEVICE = 'cuda'


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('config', [*CONFIGS, TOKENS], ids=lambda path: path.stem)
def test_a_step_in_mixed_precision(config, dtype):
    steps = Steps(str(config), DEVICE, batch=2, size=None if config is TOKENS else 64)
    if DEVICE == 'cuda':  # mmengine has no mixed precision on a CPU
        steps.config.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    losses = steps.train('step', 'step').step()
    assert losses['loss'].isfinite()


def train(config, work_dir, *options, processes=0, gpu=True, epochs=1):
    """Train in processes of their own; without ``processes`` outside of any group."""
    command = [sys.executable]
    if processes:
        command += ['-m', 'torch.distributed.run', '--standalone']
        command += ['--nproc-per-node', str(processes)]
        options += ('--launcher', 'pytorch')
    settings = [f'train_cfg.max_epochs={epochs}', 'train_dataloader.batch_size=3']
    if config is HEADS['dropcov']:
        settings.append('model.neck.dropout.sync_rate=True')
    command += [ROOT / 'tools/train.py', config, '--work-dir', work_dir, *options]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    if not gpu:
        environment['CUDA_VISIBLE_DEVICES'] = ''
    done = subprocess.run(
        [str(word) for word in [*command, '--cfg-options', *settings]],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    path = Path(work_dir, f'epoch_{epochs}.pth')
    tensors = torch.load(path, map_location='cpu', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in tensors.values())
    return path


@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('name', ['dropcov', 'upernet'])
def test_groups(name, processes, tmp_path, scenes):
    """SyncBN in the segmentor, the averaged rate of DropCov in the classifier."""
    if DEVICE == 'cuda' and torch.cuda.device_count() < processes:
        pytest.skip(f'needs {processes} GPUs')
    train(HEADS[name], tmp_path, processes=processes)


def test_a_checkpoint_goes_to_a_cpu_and_back(tmp_path, scenes):
    train(HEADS['isqrt'], tmp_path)
    train(HEADS['isqrt'], tmp_path, '--resume', gpu=False, epochs=2)
    train(HEADS['isqrt'], tmp_path, '--resume', epochs=3)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
@pytest.mark.parametrize('mode', ['default', 'reduce-overhead'])
def test_a_compiled_neck_in_mixed_precision(mode, dtype, tmp_path, scenes, monkeypatch):
    from mmgcp.engine.training import train

    options = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.batch_size': 2,
        'channels_last': True,
        'compile_neck': dict(mode=mode),
    }
    train(HEADS['isqrt'], tmp_path, amp=True, amp_dtype=dtype, cfg_options=options)
    assert (tmp_path / 'epoch_1.pth').is_file()

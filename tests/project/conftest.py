"""A project of somebody else: a folder of their own and untouched frameworks."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torchvision
from tiny_datasets import make_ade20k, make_coco, make_imagenet

MAKERS = {'mmdet': make_coco, 'mmseg': make_ade20k, 'mmpretrain': make_imagenet}


def framework_folder(framework: str) -> Path:
    """Where an installed framework keeps ``configs`` and ``tools``."""
    package = Path(find_spec(framework).origin).parent
    mim = package / '.mim'
    return mim if mim.is_dir() else package.parent


class Project:
    """A folder with data and configs, in which commands run."""

    def __init__(self, folder: Path, python: str | Path = sys.executable) -> None:
        self.folder, self.python = folder, python

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def train(self, framework: str, config: str) -> subprocess.CompletedProcess:
        """Run the framework's own ``tools/train.py`` in the folder."""
        tool = framework_folder(framework) / 'tools' / 'train.py'
        environment = {**os.environ, 'PYTHONPATH': str(self.folder)}
        environment.update(OMP_NUM_THREADS='1', OMP_WAIT_POLICY='PASSIVE')
        return subprocess.run(
            [self.python, tool, config, '--work-dir', f'work_dirs/{config}'],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )

    def checkpoint(self, config: str, name: str) -> dict:
        """What a training has written."""
        path = self.folder / 'work_dirs' / config / name
        return torch.load(path, map_location='cpu', weights_only=False)


def official_checkpoint(path: Path, dims: int = 64) -> dict:
    """A DropCov ResNet-18 as published, with random weights."""
    network = torchvision.models.resnet18(num_classes=7)
    tensors = {
        name: tensor.clone()
        for name, tensor in network.state_dict().items()
        if not name.startswith('fc.')
    }
    for name, tensor in tensors.items():
        if 'running_mean' in name:
            tensor.normal_(std=0.1)
    reduction = torch.nn.Conv2d(512, dims, 1, bias=False)
    norm = torch.nn.BatchNorm2d(dims)
    fc = torch.nn.Linear(dims * (dims + 1) // 2, 1000)
    for prefix, module in (
        ('layer_reduce', reduction),
        ('layer_reduce_bn', norm),
        ('eca_layer.conv', torch.nn.Conv1d(1, 1, 3, bias=False)),
        ('fc', fc),
    ):
        for name, tensor in module.state_dict().items():
            tensors[f'{prefix}.{name}'] = tensor
    tensors = {f'module.{name}': tensor for name, tensor in tensors.items()}
    torch.save(dict(epoch=99, arch='resnet18', state_dict=tensors), path)
    return tensors


@pytest.fixture(scope='session')
def converted(tmp_path_factory):
    """The official file, and what conversion makes of it."""
    from mmgcp.weights.convert import convert_checkpoint

    folder = tmp_path_factory.mktemp('weights')
    tensors = official_checkpoint(folder / 'official.pth.tar')
    files = {
        kind: convert_checkpoint(
            folder / 'official.pth.tar', folder / f'{kind}.pth', to=kind
        ).path
        for kind in ('encoder', 'classifier')
    }
    return {**files, 'official': tensors}


@pytest.fixture
def project(tmp_path, request):
    """A project with the data of the framework that a test names."""
    framework = request.param
    pytest.importorskip(framework)
    pytest.importorskip('mmcv.ops')
    MAKERS[framework](tmp_path / 'data')
    return Project(tmp_path)

"""A project of somebody else: their folder, and what the frameworks bring along."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_datasets import make_ade20k, make_coco, make_imagenet

ROOT = Path(__file__).resolve().parents[2]
# Two lines of the detector stand for what the page tells to change.
BACKBONE = "type='mmgcp.GCPResNet', last_stage='maxpool'"
WEIGHTS = "_delete_=True, type='mmgcp.PretrainedEncoder', checkpoint='encoder.pth'"
NO_TESTS = """
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
"""
DETECTOR = f"""
_base_ = '{{configs}}/faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
small = dict(
    data_root='data/',
    indices=2,
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='PackDetInputs')])
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=small)
train_cfg = dict(max_epochs=1)
model = dict(
    backbone=dict({BACKBONE}, depth=18, init_cfg=dict({WEIGHTS})),
    neck=dict(in_channels=[64, 128, 256, 512]),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=16))))
"""
SEGMENTOR = """
_base_ = '{configs}/sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py'
norm = dict(type='BN', requires_grad=True)
small = dict(
    data_root='data/',
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', reduce_zero_label=True),
        dict(type='Resize', scale=(64, 64)),
        dict(type='PackSegInputs')])
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=small)
train_cfg = dict(max_iters=1)
default_hooks = dict(checkpoint=dict(interval=1))
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    pretrained=None,
    backbone=dict(
        _delete_=True,
        depth=18,
        norm_cfg=norm,
        type='theirs.ScaledEncoder', last_stage='maxpool', scale=0.5,
        init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint='encoder.pth')),
    neck=dict(in_channels=[64, 128, 256, 512]),
    decode_head=dict(norm_cfg=norm))
"""
REGISTRY = """
from mmengine.registry import MODELS as ROOT
from mmengine.registry import Registry

MODELS = Registry('model', parent=ROOT, scope='theirs', locations=['theirs.encoder'])
"""
SUBCLASS = """
from mmgcp.models import GCPResNet

from .registry import MODELS


@MODELS.register_module()
class ScaledEncoder(GCPResNet):
    def __init__(self, *args, scale=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.scale = scale

    def forward(self, x):
        print('their encoder, scale', self.scale)
        return tuple(self.scale * out for out in super().forward(x))
"""
CLASSIFIER = """
_base_ = '{configs}/resnet/resnet18_8xb32_in1k.py'
small = dict(
    data_root='data/',
    indices=2,
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='CenterCrop', crop_size=64),
        dict(type='PackInputs')])
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=small)
train_cfg = dict(max_epochs=1)
model = dict(
    neck=dict(
        _delete_=True, type='mmgcp.GlobalCovariancePooling', in_channels=512,
        reduced_channels=64, normalization=dict(type='NewtonSchulz', iterations=5)),
    head=dict(in_channels=2080))
"""


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program that finds nothing of the checkout by itself; its output."""
    kept = {name: v for name, v in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env={**kept, 'OMP_NUM_THREADS': '1', **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def write_config(folder: Path, framework: str, config: str) -> Path:
    """Write a config on top of the framework's own, whose place is returned."""
    package = Path(find_spec(framework).origin).parent
    place = package / '.mim' if (package / '.mim').is_dir() else package.parent
    text = config.replace('{configs}', f'{place}/configs') + NO_TESTS
    (folder / 'config.py').write_text(text)
    return place


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train a config in their folder with mmengine's Runner, as the tools do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)

    def run(framework: str, config: str) -> None:
        write_config(tmp_path, framework, config)
        cfg = Config.fromfile('config.py')
        cfg.work_dir = 'out'
        Runner.from_cfg(cfg).train()

    return run


def trained(folder: Path, name: str) -> dict[str, torch.Tensor]:
    path = folder / 'out' / name
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def official_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """A DropCov ResNet-18 as published, with random weights."""
    from weights.networks import CovarianceResNet

    network = CovarianceResNet(18, 64, 'dropcov')
    tensors = {f'module.{name}': t for name, t in network.state_dict().items()}
    torch.save(dict(epoch=99, arch='resnet18', state_dict=tensors), path)
    return tensors


@pytest.fixture
def source(tmp_path) -> Path:
    """A copy to build from: setuptools writes into its source tree."""
    folder = tmp_path / 'source'
    folder.mkdir()
    files = 'setup.py pyproject.toml README.md LICENSE model-index.yml'
    for name in files.split():
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmgcp', 'configs', 'tools', 'benchmarks'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


@pytest.fixture
def python(tmp_path) -> Path:
    """The Python of an environment that has the frameworks and no mmgcp yet.

    A path file shows it this environment's packages. The path files beside them, such as
    that of an editable mmgcp, are not read from there.
    """
    venv.create(tmp_path / 'environment', symlinks=True)
    (site,) = tmp_path.glob('environment/lib/python*/site-packages')
    others = dict.fromkeys(sysconfig.get_path(name) for name in ('purelib', 'platlib'))
    (site / 'frameworks.pth').write_text('\n'.join(others) + '\n')
    return tmp_path / 'environment' / 'bin' / 'python'


def test_installed_package_trains_the_detector(source, python, tmp_path):
    """Convert a published checkpoint and train, with nothing of the checkout in reach."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv.ops')
    # Without an index; the environment's own mmgcp is ignored.
    pip = (sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps')
    options = ('--ignore-installed', '--no-index', '--no-build-isolation')
    call(*pip, *options, source, cwd=python.parent)
    folder = tmp_path / 'project'
    make_coco(folder / 'data')
    official = official_checkpoint(folder / 'official.pth.tar')

    code = (
        'from importlib.util import find_spec; import mmgcp; '
        'print(find_spec("benchmarks"), mmgcp.__path__[0])'
    )
    measuring, package = call(python, '-c', code, cwd=folder).split()[-2:]
    assert measuring == 'None', 'the package installs the benchmarks'
    assert Path(package).is_relative_to(tmp_path / 'environment')
    tool = Path(package) / '.mim' / 'tools' / 'convert_checkpoint.py'
    call(python, tool, 'official.pth.tar', 'encoder.pth', cwd=folder)
    tool = write_config(folder, 'mmdet', DETECTOR) / 'tools' / 'train.py'
    words = (python, tool, 'config.py', '--work-dir', 'out')
    output = call(*words, cwd=folder, PYTHONPATH=str(folder))

    assert 'Encoder loaded from encoder.pth (sha256' in output
    tensors = trained(folder, 'epoch_1.pth')
    # Their config freezes the stem and the first stage: both are those of the file.
    for name in ('conv1.weight', 'bn1.running_mean', 'layer1.1.conv2.weight'):
        assert torch.equal(tensors[f'backbone.{name}'], official[f'module.{name}'])
    assert not any('layer_reduce' in name for name in tensors)


def test_a_subclass_in_their_own_scope(train, tmp_path, capfd):
    pytest.importorskip('mmseg')
    from mmgcp.weights.convert import convert_checkpoint

    official_checkpoint(tmp_path / 'official.pth')
    convert_checkpoint(
        tmp_path / 'official.pth', tmp_path / 'encoder.pth', to='encoder'
    )
    make_ade20k(tmp_path / 'data')
    (tmp_path / 'theirs').mkdir()
    for name, text in (('registry', REGISTRY), ('encoder', SUBCLASS), ('__init__', '')):
        (tmp_path / 'theirs' / f'{name}.py').write_text(text)
    train('mmseg', SEGMENTOR)
    output = ''.join(capfd.readouterr())
    assert 'their encoder, scale 0.5' in output
    assert 'Encoder loaded from encoder.pth' in output
    assert 'backbone.layer4.1.bn2.running_mean' in trained(tmp_path, 'iter_1.pth')


def test_a_pooling_head_on_their_classifier(train, tmp_path):
    pytest.importorskip('mmpretrain')
    make_imagenet(tmp_path / 'data')
    train('mmpretrain', CLASSIFIER)
    tensors = trained(tmp_path, 'epoch_1.pth')
    assert tensors['head.fc.weight'].shape == (1000, 2080)
    assert 'neck.reduction.conv.weight' in tensors

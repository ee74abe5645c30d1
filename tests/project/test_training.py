"""Their config, two lines changed, trained by their framework's own tool."""

from difflib import ndiff
from pathlib import Path

import pytest
import torch
from conftest import framework_folder

DETECTOR = """
_base_ = '{configs}/faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
small = dict(
    data_root='data/',
    indices=2,
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='PackDetInputs')])
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=small)
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
train_cfg = dict(max_epochs=1)
model = dict(
    backbone=dict(
        depth=18,
        type='ResNet',
        init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512]),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=16))))
"""
CHANGES = {
    "        type='ResNet',": "        type='mmgcp.GCPResNet', last_stage='maxpool',",
    '        init_cfg=None),': (
        "        init_cfg=dict(_delete_=True, type='mmgcp.PretrainedEncoder', "
        "checkpoint='encoder.pth')),"
    ),
}


def changed(text: str) -> str:
    """Their config with the two lines exchanged."""
    for old, new in CHANGES.items():
        assert text.count(f'{old}\n') == 1
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize('project', ['mmdet'], indirect=True)
def test_two_lines_of_a_detector(project, converted):
    (project.folder / 'encoder.pth').write_bytes(
        Path(converted['encoder']).read_bytes()
    )
    theirs = DETECTOR.format(configs=framework_folder('mmdet') / 'configs')
    ours = changed(theirs)
    lines = [
        line
        for line in ndiff(theirs.splitlines(), ours.splitlines())
        if line.startswith('+')
    ]
    assert len(lines) == 2
    project.write('detector.py', ours)

    result = project.train('mmdet', 'detector.py')

    assert result.returncode == 0, result.stderr[-3000:]
    log = result.stdout + result.stderr
    assert 'Encoder loaded from encoder.pth (sha256' in log
    trained = project.checkpoint('detector.py', 'epoch_1.pth')['state_dict']
    # frozen_stages=1 of their config: stem and first stage are those of the file.
    source = converted['official']
    for name in ('conv1.weight', 'bn1.running_mean', 'layer1.1.conv2.weight'):
        assert torch.equal(trained[f'backbone.{name}'], source[f'module.{name}'])
    assert not any('layer_reduce' in name for name in trained)


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
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
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
        outs = super().forward(x)
        print('their encoder, scale', self.scale, 'in', type(self).__mro__[2].__module__)
        return tuple(self.scale * out for out in outs)
"""


@pytest.mark.parametrize('project', ['mmseg'], indirect=True)
def test_a_subclass_in_their_own_scope(project, converted):
    (project.folder / 'encoder.pth').write_bytes(
        Path(converted['encoder']).read_bytes()
    )
    project.write('theirs/__init__.py', '')
    project.write('theirs/registry.py', REGISTRY)
    project.write('theirs/encoder.py', SUBCLASS)
    text = SEGMENTOR.format(configs=framework_folder('mmseg') / 'configs')
    project.write('segmentor.py', text)

    result = project.train('mmseg', 'segmentor.py')

    assert result.returncode == 0, result.stderr[-3000:]
    assert 'their encoder, scale 0.5' in result.stdout
    assert 'Encoder loaded from encoder.pth' in result.stdout + result.stderr
    trained = project.checkpoint('segmentor.py', 'iter_1.pth')['state_dict']
    assert 'backbone.layer4.1.bn2.running_mean' in trained


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
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
train_cfg = dict(max_epochs=1)
model = dict(
    neck=dict(
        _delete_=True, type='mmgcp.GlobalCovariancePooling', in_channels=512,
        reduced_channels=64, normalization=dict(type='NewtonSchulz', iterations=5)),
    head=dict(in_channels=2080))
"""


@pytest.mark.parametrize('project', ['mmpretrain'], indirect=True)
def test_a_pooling_head_on_their_classifier(project):
    text = CLASSIFIER.format(configs=framework_folder('mmpretrain') / 'configs')
    project.write('classifier.py', text)
    result = project.train('mmpretrain', 'classifier.py')
    assert result.returncode == 0, result.stderr[-3000:]
    trained = project.checkpoint('classifier.py', 'epoch_1.pth')['state_dict']
    assert trained['head.fc.weight'].shape == (1000, 2080)
    assert 'neck.reduction.conv.weight' in trained


WRONG = {
    'last_stage': (
        dict(backbone=dict(last_stage='maxpol')),
        r"last_stage='maxpol' is unknown.*'stride'.*'maxpool'.*'native'",
    ),
    'strides': (
        dict(backbone=dict(strides=(1, 2, 2, 2))),
        r"strides=\(1, 2, 2, 2\) contradict last_stage='maxpool'.*Leave strides out",
    ),
    'channels': (
        dict(neck=dict(in_channels=[256, 512, 1024, 2048])),
        r'neck.in_channels=\[256, .*set neck.in_channels=\[64, 128, 256, 512\]',
    ),
}


def their_config(project, converted):
    """Their detector with the two lines changed, as mmengine reads it."""
    from mmengine.config import Config

    text = changed(DETECTOR.format(configs=framework_folder('mmdet') / 'configs'))
    text = text.replace('encoder.pth', str(converted['encoder']))
    return Config.fromfile(project.write('detector.py', text))


@pytest.mark.parametrize('project', ['mmdet'], indirect=True)
@pytest.mark.parametrize('kind', WRONG)
def test_wrong_use_tells_the_way_out(kind, project, converted):
    from mmengine.registry import MODELS, init_default_scope

    change, message = WRONG[kind]
    config = their_config(project, converted)
    config.merge_from_dict({'model': change})
    init_default_scope('mmdet')
    with pytest.raises(ValueError, match=message):
        MODELS.build(config.model).init_weights()


@pytest.mark.parametrize('project', ['mmdet'], indirect=True)
def test_our_scope_as_the_default_tells_the_way_out(project, converted):
    from mmengine.runner import Runner

    config = their_config(project, converted)
    config.default_scope = 'mmgcp'
    config.work_dir = str(project.folder)
    with pytest.raises(
        KeyError, match="default_scope='mmgcp' hides .*'mmdet', 'mmseg'"
    ):
        Runner.from_cfg(config)


@pytest.mark.parametrize('project', ['mmdet'], indirect=True)
def test_a_missing_tensor_is_refused_by_name(project, converted):
    from mmengine.registry import MODELS, init_default_scope

    content = torch.load(converted['encoder'], weights_only=True)
    del content['state_dict']['layer3.0.downsample.0.weight']
    torch.save({'state_dict': content['state_dict']}, project.folder / 'holed.pth')
    config = their_config(project, converted)
    config.model.backbone.init_cfg.checkpoint = str(project.folder / 'holed.pth')
    init_default_scope('mmdet')
    with pytest.raises(RuntimeError, match='1 missing: layer3.0.downsample.0.weight'):
        MODELS.build(config.model).init_weights()

"""Every encoder learns at rates that grow from its stem to its last layer."""

from importlib import import_module

import pytest
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from mmgcp.utils.config import FRAMEWORKS
from mmgcp.utils.errors import UserError

RATE = 0.5
ENCODERS = {
    'resnet': (
        dict(type='mmgcp.GCPResNet', depth=18, last_stage='native', base_channels=4),
        {'conv1.weight': 5, 'layer1.0.conv1.weight': 4, 'layer4.1.bn2.bias': 1},
    ),
    'mobilenet': (
        dict(type='mmgcp.GCPMobileNetV2', widen_factor=0.25),
        {'conv1.conv.weight': 9, 'layer1.0.conv.0.bn.bias': 8, 'conv2.bn.weight': 1},
    ),
    'shufflenet': (
        dict(type='mmgcp.GCPShuffleNetV2', widen_factor=0.5),
        {
            'conv1.bn.weight': 5,
            'layers.0.0.branch1.0.conv.weight': 4,
            'layers.3.bn.bias': 1,
        },
    ),
    'sovit': (
        dict(
            type='mmgcp.SoViT',
            arch=dict(embed_dims=16, num_layers=4, num_heads=2, mlp_ratio=2),
        ),
        {
            'cls_token': 5,
            'blocks.0.norm1.bias': 4,
            'blocks.3.norm1.bias': 1,
            'norm.bias': 0,
        },
    ),
    'timm': (
        dict(type='mmgcp.TimmEncoder', model='test_vit'),
        {
            'net.pos_embed': 7,
            'net.blocks.5.norm1.bias': 1,
            'net.norm.bias': 0,
            'pyramid.levels.0.4.weight': 0,
        },
    ),
    'deit': (
        dict(type='mmpretrain.VisionTransformer', arch='deit-tiny', img_size=32),
        {
            'cls_token': 13,
            'layers.0.ln1.bias': 12,
            'layers.11.ln1.bias': 1,
            'ln1.bias': 0,
        },
    ),
    'swin': (
        dict(
            type='mmpretrain.SwinTransformer', arch='tiny', img_size=32, window_size=1
        ),
        {
            'patch_embed.norm.bias': 13,
            'stages.0.blocks.0.norm1.bias': 12,
            'norm3.bias': 0,
        },
    ),
    'convnext': (
        dict(type='mmpretrain.ConvNeXt', arch='atto'),
        {'downsample_layers.0.0.bias': 7, 'stages.0.0.norm.bias': 6, 'norm3.bias': 0},
    ),
}


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(2, 2)


def built(framework, settings):
    pytest.importorskip(f'{framework}.models')
    with DefaultScope.overwrite_default_scope(framework):
        return Model(
            import_module(f'{framework}.registry').MODELS.build(dict(settings))
        )


def rates(model, **paramwise):
    config = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.1),
        constructor='mmgcp.LayerDecayConstructor',
        paramwise_cfg=paramwise,
    )
    groups = build_optim_wrapper(model, config).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: g for g in groups for p in g['params']}


@pytest.mark.parametrize('name', ENCODERS)
def test_rates(name):
    settings, expected = ENCODERS[name]
    if name == 'timm':
        pytest.importorskip('timm')
    if settings['type'].startswith('mmpretrain'):
        pytest.importorskip('mmpretrain')
    model = built('mmseg', settings)
    backbone = model.backbone
    found = rates(model, layer_decay_rate=RATE, norm_decay_mult=0.0)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert found['head.weight']['lr'] == 1
    for parameter, layers in expected.items():
        assert found[f'backbone.{parameter}']['lr'] == RATE**layers, parameter
    lrs = [found[f'backbone.{n}']['lr'] for n, _ in backbone.named_parameters()]
    assert all(0 < lr <= 1 for lr in lrs)
    norms = [
        n
        for n, m in model.named_modules()
        if isinstance(m, nn.modules.batchnorm._NormBase | nn.LayerNorm)
    ]
    assert all(found[f'{n}.weight']['weight_decay'] == 0 for n in norms)


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_other_keys_keep_their_meaning(framework):
    model = built(framework, ENCODERS['resnet'][0])
    keys = dict(layer4=dict(lr_mult=0.1), head=dict(lr_mult=10))
    found = rates(model, layer_decay_rate=RATE, custom_keys=keys)
    assert found['backbone.layer4.1.bn2.bias']['lr'] == pytest.approx(0.1 * RATE)
    assert found['head.weight']['lr'] == 10


def test_what_cannot_work_is_refused():
    model = Model(nn.Conv2d(3, 4, 1))
    with pytest.raises(UserError, match='Conv2d has neither layer_names'):
        rates(model, layer_decay_rate=RATE)
    with pytest.raises(UserError, match='layer_decay_rate=2 has to be'):
        rates(model, layer_decay_rate=2)

"""The pooling heads behind the encoders of mmpretrain and timm."""

import pytest
import torch
from mmengine.registry import MODELS

from mmgcp.utils.errors import ConfigValueError

pytest.importorskip('mmpretrain')

MAPS = {
    'ResNet': dict(depth=18, base_channels=8, stem_channels=8),
    'ResNetV1d': dict(depth=50, base_channels=4, stem_channels=8, strides=(1, 2, 2, 1)),
    'RegNet': dict(arch='regnetx_400mf'),
    'ConvNeXt': dict(arch='atto', gap_before_final_norm=False),
    'EfficientNet': dict(arch='b0'),
    'MobileNetV3': dict(arch='small_050'),
    'SwinTransformer': dict(arch='tiny', img_size=64, window_size=2),
    'VisionTransformer': dict(arch='deit-tiny', img_size=64, out_type='featmap'),
}
TOKENS = {'VisionTransformer': dict(arch='deit-tiny', img_size=64, out_type='raw')}
TIMM = ('test_resnet', 'test_convnext', 'test_efficientnet', 'test_byobnet')
REDUCED = 8


def heads(channels):
    covariance = dict(
        type='mmgcp.GlobalCovariancePooling',
        in_channels=channels,
        reduced_channels=REDUCED,
    )
    cross = dict(type='mmgcp.MultiHeadCrossCovariancePooling', in_channels=channels)
    return {
        'gap': (dict(type='mmgcp.GlobalAveragePooling'), channels),
        'isqrt': (covariance | dict(normalization=dict(type='NewtonSchulz')), 36),
        'dropcov': (covariance | dict(dropout=dict(type='DropCov')), 36),
        'tokens': (
            cross | dict(num_heads=2, head_dims=4, match_released_code=False),
            32,
        ),
    }


def timm(name, **kwargs):
    return dict(type='TIMMBackbone', model_name=name, **kwargs)


CASES = {
    **{f'{name}-map': dict(type=name, **kwargs) for name, kwargs in MAPS.items()},
    **{f'{name}-tokens': dict(type=name, **kwargs) for name, kwargs in TOKENS.items()},
    **{f'timm-{name}': timm(name) for name in TIMM},
    'timm-test_vit': timm('test_vit', img_size=64),
}


@pytest.mark.parametrize('name', CASES)
def test_every_head_behind(name, in_scope):
    if name.startswith('timm'):
        pytest.importorskip('timm')
    with in_scope('mmpretrain'):
        backbone = MODELS.build(CASES[name])
        backbone.init_weights()
        last = backbone(torch.randn(2, 3, 64, 64))[-1].detach()
        channels = last.shape[2 if last.dim() == 3 else 1]
        for head, (cfg, length) in heads(channels).items():
            neck = MODELS.build(cfg).train()
            features = last.clone().requires_grad_()
            vector = neck((features,))[-1]
            assert vector.shape == (2, length), head
            vector.square().sum().backward()
            assert torch.isfinite(features.grad).all(), head
            # the class token takes no part in what is of the positions alone
            if last.dim() == 3 and head != 'tokens':
                assert torch.all(features.grad[:, 0] == 0)
            if head in ('isqrt', 'dropcov'):
                wrong = MODELS.build({**cfg, 'in_channels': channels + 1})
                message = f'set neck.in_channels={channels}'
                with pytest.raises(ConfigValueError, match=message) as error:
                    wrong((last,))
                assert '\n' not in str(error.value)


def test_an_encoder_that_has_pooled_already(in_scope):
    with in_scope('mmpretrain'):
        backbone = MODELS.build(dict(type='ConvNeXt', arch='atto'))
        neck = MODELS.build(heads(320)['isqrt'][0])
        with pytest.raises(ConfigValueError, match='gap_before_final_norm'):
            neck(backbone(torch.randn(2, 3, 64, 64)))


def test_positions_of_tokens_are_those_of_the_map(in_scope):
    torch.manual_seed(0)
    tokens = torch.randn(2, 17, 12)
    with in_scope('mmpretrain'):
        neck = MODELS.build(heads(12)['isqrt'][0]).eval()
    grid = tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(neck((tokens,)), neck((grid,)))

"""Pre-training on ImageNet starts from what the published code starts from."""

import math

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from zoo import CONFIGS, read

pytest.importorskip('mmpretrain')


def initialized(name: str) -> nn.Module:
    init_default_scope('mmpretrain')
    model = MODELS.build(read(CONFIGS / f'pretrain/{name}_in1k.py').model)
    model.init_weights()
    return model


def is_torch_default(layer: nn.Module) -> bool:
    """Uniform up to one over the root of the fan-in, for weights and biases."""
    bound = 1 / math.sqrt(layer.weight[0].numel())
    width = layer.weight.std().item() / (bound / math.sqrt(3))
    return layer.weight.abs().max() <= bound and 0.8 < width < 1.2


@pytest.mark.parametrize('pooling', ['gap', 'isqrt'])
def test_resnet(pooling):
    model = initialized(f'resnet18-{pooling}_8xb32-lrnorm')
    assert is_torch_default(model.head.fc)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            expected = math.sqrt(2 / fan_out)
            assert module.weight.std().item() == pytest.approx(expected, rel=0.2), name
        elif isinstance(module, nn.BatchNorm2d):
            assert torch.all(module.weight == 1), name


@pytest.mark.parametrize('pooling', ['gap', 'isqrt'])
def test_shufflenet(pooling):
    model = initialized(f'shufflenet-v2-1x-{pooling}_16xb64-lrnorm')
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) > 50
    assert all(is_torch_default(layer) for layer in layers)
    assert all(
        torch.all(m.bias == 0) for m in model.modules() if 'Norm' in str(type(m))
    )


@pytest.mark.parametrize('pooling', ['gap', 'isqrt'])
def test_mobilenet_drops_a_fifth_before_the_classifier(pooling):
    neck = initialized(f'mobilenet-v2-{pooling}_4xb24-lrnorm').neck
    (vectors,) = neck.train()((torch.rand(2, 1280, 7, 7),))
    assert (vectors == 0).float().mean().item() == pytest.approx(0.2, abs=0.04)

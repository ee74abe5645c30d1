"""ResNet encoders: the framework's own against GCPResNet with every last stage."""

from collections.abc import Callable

import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.utils.mkldnn import to_mkldnn

from mmgcp.registry import MODELS

from .timing import Variant


def encoder_variants(
    x: Tensor, depth: int, training: bool, also: list[str]
) -> list[Variant]:
    """mmpretrain's ResNet (twice: the second shows the noise) and GCPResNet.

    Args:
        x: Images ``(B, 3, H, W)``.
        depth: Depth of the ResNets.
        training: Forward and backward, or forward alone.
        also: Names of :data:`WAYS`. The first encoder and the one with stride 1 in
            the last stage are run in these ways too.
    """
    init_default_scope('mmpretrain')
    common = dict(depth=depth, norm_eval=False)
    framework = dict(type='mmpretrain.ResNet', **common)
    configs = {'framework': framework, 'framework again': framework}
    for stage in ('stride', 'maxpool', 'native'):
        configs[f'GCPResNet {stage}'] = dict(
            common, type='mmgcp.GCPResNet', last_stage=stage
        )

    def variant(name, way=lambda model, x: (model, x), suffix=''):
        torch.manual_seed(0)
        model = MODELS.build(configs[name]).to(x.device)
        model.train(training)  # mmpretrain's returns None: no chaining
        step = (_train if training else _infer)(*way(model, x))
        return Variant(name + suffix, step, 'framework', images=len(x))

    variants = [variant(name) for name in configs]
    for way in also:
        if training and way in INFERENCE_ONLY:
            continue
        for name in ('framework', 'GCPResNet native'):
            variants.append(variant(name, WAYS[way], f' {way}'))
    return variants


def _channels_last(model, x):
    layout = torch.channels_last
    return model.to(memory_format=layout), x.to(memory_format=layout)


def _compile(model, x):
    return torch.compile(model), x


def _fuse(model, x):
    """Batch norm folded into the convolutions before it."""
    return fuse_conv_bn(model), x


def _onednn(model, x):
    """Weights and activations stay in the blocked layouts of oneDNN."""
    return to_mkldnn(fuse_conv_bn(model)), x.to_mkldnn()


# The same function by other means.
WAYS: dict[str, Callable] = {
    'channels_last': _channels_last,
    'compile': _compile,
    'fused': _fuse,
    'onednn': _onednn,
}
INFERENCE_ONLY = {'fused', 'onednn'}


def _infer(model: nn.Module, x: Tensor) -> Callable:
    def step():
        with torch.no_grad():
            model(x)

    return step


def _train(model: nn.Module, x: Tensor) -> Callable:
    def step():
        model.zero_grad(set_to_none=True)
        model(x)[-1].mean().backward()

    return step

"""Which network a set of tensors belongs to, and which tensors that network has.

The network is built without memory (on torch's ``meta`` device), so that a checkpoint
is held against the architecture and not against whatever happens to be in it.
"""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import nn

from ..models import GlobalCovariancePooling, MultiHeadCrossCovariancePooling
from ..models.backbones.sovit import ARCHES
from ..registry import MODELS
from .deep_stem import names_of_mmdet
from .errors import CheckpointError

Shape = tuple[int, ...]
Encoder = tuple[str, dict[str, Any]]

BASIC = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34}
BOTTLENECK = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
SHUFFLENET_WIDTHS = {24: 0.5, 58: 1.0, 88: 1.5, 122: 2.0}


def recognize(shapes: Mapping[str, Shape]) -> Encoder | None:
    """Name and config of the encoder that tensors belong to, None for an unknown one."""
    shapes = {name.removeprefix('backbone.'): shape for name, shape in shapes.items()}
    if any(re.match(r'layer1\.0\.conv\d\.', name) for name in shapes):
        return _resnet(shapes)
    if any(name.startswith('layer7.0.conv.') for name in shapes):
        return 'mobilenet_v2', dict(type='mmgcp.GCPMobileNetV2')
    if any(name.startswith('layers.0.0.branch2.') for name in shapes):
        return _shufflenet(shapes)
    if any(name.startswith('visual_tokens.tokens.') for name in shapes):
        return _so_vit(shapes)
    return None


def _size(shapes: Mapping[str, Shape], name: str, axis: int = 0) -> int:
    if name not in shapes or len(shapes[name]) <= axis:
        raise CheckpointError(
            f'{name} is missing or has the wrong number of dimensions'
        )
    return shapes[name][axis]


def _blocks(shapes: Mapping[str, Shape], stage: str) -> int:
    """Number of blocks of a stage, from the highest index."""
    found = (re.match(rf'{stage}\.(\d+)\.', name) for name in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _resnet(shapes: Mapping[str, Shape]) -> Encoder:
    one, two, three, four = (_blocks(shapes, f'layer{i}') for i in (1, 2, 3, 4))
    blocks = (one, two, three, four)
    bottleneck = any(re.match(r'layer\d\.\d+\.conv3\.', name) for name in shapes)
    depth = (BOTTLENECK if bottleneck else BASIC).get(blocks)
    if depth is None:
        raise CheckpointError(
            f'{blocks} {"bottleneck" if bottleneck else "basic"} blocks are those of '
            'no ResNet-18, 34, 50, 101 or 152'
        )
    deep_stem = any(name.startswith('stem.') for name in shapes)
    avg_down = any('.downsample.2.' in name for name in shapes)
    kind = {(False, False): '', (True, False): 'c', (True, True): 'd'}
    variant = kind.get((deep_stem, avg_down), '-avg-down')
    frameworks = ('mmdet', 'mmseg', 'mmpretrain')
    config = dict(
        type='mmgcp.GCPResNet',
        framework=next(filter(find_spec, frameworks), 'mmdet'),
        depth=depth,
        last_stage='native',
        stem_channels=_size(shapes, 'stem.7.weight' if deep_stem else 'bn1.weight'),
        base_channels=_size(shapes, 'layer1.0.bn1.weight'),
        deep_stem=deep_stem,
        avg_down=avg_down,
    )
    return f'resnet{depth}{variant}', config


def _shufflenet(shapes: Mapping[str, Shape]) -> Encoder:
    half = _size(shapes, 'layers.0.0.branch1.1.bn.weight')
    if half not in SHUFFLENET_WIDTHS:
        raise CheckpointError(
            f'a first stage of {2 * half} channels is that of no ShuffleNetV2'
        )
    width = SHUFFLENET_WIDTHS[half]
    config = dict(type='mmgcp.GCPShuffleNetV2', widen_factor=width)
    return f'shufflenet_v2_x{width}', config


def _so_vit(shapes: Mapping[str, Shape]) -> Encoder:
    dim = _size(shapes, 'cls_token', 2)
    depth = _blocks(shapes, 'blocks')
    hidden = _size(shapes, 'blocks.0.mlp.fc1.weight')
    side = round((_size(shapes, 'pos_embed', 1) - 1) ** 0.5)
    for name, arch in ARCHES.items():
        sizes = arch['embed_dims'], arch['num_layers'], arch['mlp_ratio'] * dim
        if sizes == (dim, depth, hidden):
            return name, dict(type='mmgcp.SoViT', arch=name, img_size=16 * side)
    raise CheckpointError(
        f'{depth} blocks of width {dim} and hidden size {hidden} are of no So-ViT'
    )


def model_shapes(
    config: dict[str, Any], shapes: Mapping[str, Shape], to: str
) -> dict[str, Shape]:
    """Names and shapes of all tensors of a model, from the config of its encoder.

    ``shapes`` are those in the checkpoint, of which the sizes of the heads are read;
    ``to`` is ``'encoder'``, ``'classifier'`` or ``'detector'``.
    """
    # mmpretrain's ResNet reads values of tensors while it is built
    device = 'cpu' if config.get('framework') == 'mmpretrain' else 'meta'
    scope = 'mmdet' if to == 'detector' else None
    try:
        with torch.device(device), DefaultScope.overwrite_default_scope(scope):
            backbone = MODELS.build(config)
            parts: dict[str, nn.Module] = {'backbone': backbone}
            if to == 'detector':
                parts |= _detector(shapes, list(backbone.out_channels))
            elif to == 'classifier':
                parts |= _classifier(shapes, backbone.out_channels[-1])
    except ImportError as error:
        raise CheckpointError(str(error)) from error
    tensors = {
        f'{prefix}.{name}': tensor
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
    }
    new = names_of_mmdet(tensors)
    expected = {new[name]: tuple(tensor.shape) for name, tensor in tensors.items()}
    if to == 'classifier':
        # a trained dropout or normalization of the covariance has tensors of its own
        own = ('neck.dropout.', 'neck.normalization.')
        expected = {n: s for n, s in shapes.items() if n.startswith(own)} | expected
    return expected


def _classifier(shapes: Mapping[str, Shape], channels: int) -> dict[str, nn.Module]:
    """Pooling head and classifier behind an encoder."""
    if 'head.cls_fc.weight' in shapes or 'neck.wr.weight' in shapes:
        pooled = _size(shapes, 'head.visual_fc.weight', 1)
        heads, dims = token_heads(pooled, _size(shapes, 'neck.wr.weight'))
        classes = _size(shapes, 'head.cls_fc.weight')
        return {
            'neck': MultiHeadCrossCovariancePooling(channels, heads, dims),
            'head.cls_fc': nn.Linear(channels, classes),
            'head.visual_fc': nn.Linear(pooled, classes),
        }
    classes = _size(shapes, 'head.fc.weight')
    if not any(name.startswith('neck.reduction.') for name in shapes):
        return {'head.fc': nn.Linear(channels, classes)}
    reduced = _size(shapes, 'neck.reduction.conv.weight')
    neck = GlobalCovariancePooling(channels, reduced)
    return {'neck': neck, 'head.fc': nn.Linear(neck.out_channels, classes)}


def token_heads(pooled: int, rows: int) -> tuple[int, int]:
    """Heads and channels per head of a cross-covariance pooling.

    ``pooled`` is the length of the second-order vector, heads times channels squared.
    ``rows`` is the number of outputs of the projection: heads times channels, three
    times in files of DropCov (one is never read) and twice otherwise.
    """
    # No published number of heads is a multiple of 9, for which both would fit.
    for groups in (3, 2):
        dims = groups * pooled // max(rows, 1)
        heads = pooled // max(dims, 1) ** 2
        if heads * dims**2 == pooled and groups * heads * dims == rows:
            return heads, dims
    raise CheckpointError(
        f'a projection to {rows} values and a vector of {pooled} fit no '
        'cross-covariance pooling'
    )


def _detector(shapes: Mapping[str, Shape], channels: list) -> dict[str, nn.Module]:
    """FPN, RPN, box head and, where there is one, mask head of mmdet."""
    width = _size(shapes, 'neck.lateral_convs.0.conv.weight')
    # three per position, the ratios of which do not matter here
    anchors = dict(type='AnchorGenerator', scales=[8], ratios=[1] * 3, strides=[4] * 5)
    box, mask = 'roi_head.bbox_head', 'roi_head.mask_head'
    classes = _size(shapes, f'{box}.fc_cls.weight') - 1
    configs = {
        'neck': dict(
            type='mmdet.FPN', in_channels=channels, out_channels=width, num_outs=5
        ),
        'rpn_head': dict(
            type='mmdet.RPNHead',
            in_channels=width,
            feat_channels=width,
            anchor_generator=anchors,
        ),
        box: dict(
            type='mmdet.Shared2FCBBoxHead',
            in_channels=width,
            fc_out_channels=_size(shapes, f'{box}.shared_fcs.0.weight'),
            num_classes=classes,
            reg_class_agnostic=_size(shapes, f'{box}.fc_reg.weight') == 4,
        ),
    }
    if any(name.startswith(mask) for name in shapes):
        configs[mask] = dict(
            type='mmdet.FCNMaskHead',
            in_channels=width,
            conv_out_channels=_size(shapes, f'{mask}.convs.0.conv.weight'),
            num_classes=classes,
        )
    return {prefix: MODELS.build(config) for prefix, config in configs.items()}

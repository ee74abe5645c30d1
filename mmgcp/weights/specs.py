"""Names and shapes of the tensors that a complete encoder has.

Written out from the architectures, so that a checkpoint is held against the
network it claims to be and not against whatever happens to be in it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import CheckpointError

Shape = tuple[int, ...]

RESNET_BLOCKS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
SHUFFLENET_CHANNELS = {
    (48, 96, 192, 1024): 'x0.5',
    (116, 232, 464, 1024): 'x1.0',
    (176, 352, 704, 1024): 'x1.5',
    (244, 488, 976, 2048): 'x2.0',
}
MOBILENET_STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)


@dataclass(frozen=True)
class Architecture:
    """An encoder recognised by its tensors.

    Attributes:
        name: For example ``'resnet50'``.
        shapes: Shape of every tensor, buffers included.
        out_channels: Channels of the last feature map.
    """

    name: str
    shapes: dict[str, Shape]
    out_channels: int


def norm_shapes(name: str, channels: int) -> dict[str, Shape]:
    """Tensors of one batch normalisation."""
    shapes: dict[str, Shape] = {
        f'{name}.{part}': (channels,)
        for part in ('weight', 'bias', 'running_mean', 'running_var')
    }
    shapes[f'{name}.num_batches_tracked'] = ()
    return shapes


def _size(shapes: Mapping[str, Shape], name: str, axis: int = 0) -> int:
    if name not in shapes or len(shapes[name]) <= axis:
        raise CheckpointError(
            f'{name} is missing or has the wrong number of dimensions'
        )
    return shapes[name][axis]


def resnet(shapes: Mapping[str, Shape]) -> Architecture:
    """ResNet-18 to 152 of any width, with a plain or a deep stem.

    Raises:
        CheckpointError: The numbers of blocks are those of no ResNet.
    """
    counts = [0, 0, 0, 0]
    for name in shapes:
        if match := re.match(r'layer([1-4])\.(\d+)\.', name):
            stage = int(match[1]) - 1
            counts[stage] = max(counts[stage], int(match[2]) + 1)
    bottleneck = any(re.search(r'layer\d\.\d+\.conv3\.', name) for name in shapes)
    depth = RESNET_BLOCKS.get((bottleneck, tuple(counts)))
    if depth is None:
        raise CheckpointError(
            f'{tuple(counts)} {"bottleneck" if bottleneck else "basic"} blocks are '
            'those of no ResNet-18, 34, 50, 101 or 152'
        )
    deep_stem = any(name.startswith('stem.') for name in shapes)
    avg_down = any('.downsample.2.' in name for name in shapes)
    stem = _size(shapes, 'stem.7.weight' if deep_stem else 'bn1.weight')
    base = _size(shapes, 'layer1.0.bn1.weight')
    expansion = 4 if bottleneck else 1
    expected: dict[str, Shape] = {}
    if deep_stem:
        half = stem // 2
        for i, (out, inner) in enumerate(((half, 3), (half, half), (stem, half))):
            expected[f'stem.{3 * i}.weight'] = (out, inner, 3, 3)
            expected |= norm_shapes(f'stem.{3 * i + 1}', out)
    else:
        expected['conv1.weight'] = (stem, 3, 7, 7)
        expected |= norm_shapes('bn1', stem)
    channels = stem
    for stage, blocks in enumerate(counts):
        width = base * 2**stage
        out = width * expansion
        for block in range(blocks):
            name = f'layer{stage + 1}.{block}'
            convs = (
                ((width, channels, 1), (width, width, 3), (out, width, 1))
                if bottleneck
                else ((width, channels, 3), (width, width, 3))
            )
            for i, (rows, columns, kernel) in enumerate(convs, 1):
                expected[f'{name}.conv{i}.weight'] = (rows, columns, kernel, kernel)
                expected |= norm_shapes(f'{name}.bn{i}', rows)
            if block == 0 and (stage > 0 or channels != out):
                first = int(avg_down)
                expected[f'{name}.downsample.{first}.weight'] = (out, channels, 1, 1)
                expected |= norm_shapes(f'{name}.downsample.{first + 1}', out)
            channels = out
    suffix = {(False, False): '', (True, False): 'c', (True, True): 'd'}
    variant = suffix.get((deep_stem, avg_down), '-avg-down')
    return Architecture(f'resnet{depth}{variant}', expected, channels)


def _conv_bn(name: str, out: int, inner: int, kernel: int) -> dict[str, Shape]:
    return {
        f'{name}.conv.weight': (out, inner, kernel, kernel),
        **norm_shapes(f'{name}.bn', out),
    }


def mobilenet_v2(shapes: Mapping[str, Shape]) -> Architecture:
    """MobileNetV2 of width 1.0 under the names of mmpretrain."""
    expected = _conv_bn('conv1', 32, 3, 3)
    channels = 32
    for stage, (expand, out, blocks) in enumerate(MOBILENET_STAGES, 1):
        for block in range(blocks):
            name = f'layer{stage}.{block}.conv'
            hidden = channels * expand
            parts = [(hidden, 1, 3), (out, hidden, 1)]
            if expand != 1:
                parts.insert(0, (hidden, channels, 1))
            for i, part in enumerate(parts):
                expected |= _conv_bn(f'{name}.{i}', *part)
            channels = out
    expected |= _conv_bn('conv2', 1280, channels, 1)
    return Architecture('mobilenet_v2', expected, 1280)


def shufflenet_v2(shapes: Mapping[str, Shape]) -> Architecture:
    """ShuffleNetV2 under the names of mmpretrain.

    Raises:
        CheckpointError: The widths are those of no ShuffleNetV2.
    """
    # the halves that the first unit of a stage joins
    outs = tuple(
        2 * _size(shapes, f'layers.{i}.0.branch1.1.bn.weight') for i in range(3)
    ) + (_size(shapes, 'layers.3.bn.weight'),)
    if outs not in SHUFFLENET_CHANNELS:
        raise CheckpointError(f'stages of {outs} channels are of no ShuffleNetV2')
    expected = _conv_bn('conv1', 24, 3, 3)
    channels = 24
    for stage, (blocks, out) in enumerate(zip((4, 8, 4), outs[:3], strict=True)):
        half = out // 2
        for block in range(blocks):
            name = f'layers.{stage}.{block}'
            if block == 0:
                expected |= _conv_bn(f'{name}.branch1.0', channels, 1, 3)
                expected |= _conv_bn(f'{name}.branch1.1', half, channels, 1)
            inner = channels if block == 0 else half
            expected |= _conv_bn(f'{name}.branch2.0', half, inner, 1)
            expected |= _conv_bn(f'{name}.branch2.1', half, 1, 3)
            expected |= _conv_bn(f'{name}.branch2.2', half, half, 1)
        channels = out
    expected |= _conv_bn('layers.3', outs[3], channels, 1)
    name = f'shufflenet_v2_{SHUFFLENET_CHANNELS[outs]}'
    return Architecture(name, expected, outs[3])


def recognise(shapes: Mapping[str, Shape]) -> Architecture | None:
    """The architecture that a set of encoder tensors belongs to.

    Args:
        shapes: Bare names, as the encoders of this package have them.

    Returns:
        The architecture, or None for one without a specification here.
    """
    names = shapes.keys()
    if any(re.match(r'layer1\.0\.conv\d\.weight$', name) for name in names):
        return resnet(shapes)
    if any(name.startswith('layer7.0.conv.') for name in names):
        return mobilenet_v2(shapes)
    if any(re.match(r'layers\.\d\.\d\.branch2\.', name) for name in names):
        return shufflenet_v2(shapes)
    return None


def _reduction_and_fc(shapes: Mapping[str, Shape], channels: int) -> dict[str, Shape]:
    classes = _size(shapes, 'head.fc.weight')
    expected: dict[str, Shape] = {}
    inputs = channels
    if any(name.startswith('neck.reduction.') for name in shapes):
        reduced = _size(shapes, 'neck.reduction.conv.weight')
        expected['neck.reduction.conv.weight'] = (reduced, channels, 1, 1)
        expected |= norm_shapes('neck.reduction.bn', reduced)
        if 'neck.dropout.importance.weight' in shapes:
            expected['neck.dropout.importance.weight'] = (1, 1, 3)
        inputs = reduced * (reduced + 1) // 2
        # a trained normalisation has parameters of its own
        expected |= {
            name: shape
            for name, shape in shapes.items()
            if name.startswith('neck.normalization.')
        }
    expected['head.fc.weight'] = (classes, inputs)
    expected['head.fc.bias'] = (classes,)
    return expected


def _two_stage(shapes: Mapping[str, Shape], channels: int) -> dict[str, Shape]:
    """FPN, RPN, box head and, where there is one, mask head of mmdet."""
    width = _size(shapes, 'neck.lateral_convs.0.conv.weight')
    anchors = _size(shapes, 'rpn_head.rpn_cls.weight')
    hidden = _size(shapes, 'roi_head.bbox_head.shared_fcs.0.weight')
    classes = _size(shapes, 'roi_head.bbox_head.fc_cls.weight') - 1
    boxes = _size(shapes, 'roi_head.bbox_head.fc_reg.weight')
    weights = {
        'rpn_head.rpn_conv': (width, width, 3, 3),
        'rpn_head.rpn_cls': (anchors, width, 1, 1),
        'rpn_head.rpn_reg': (4 * anchors, width, 1, 1),
        'roi_head.bbox_head.shared_fcs.0': (hidden, width * 7 * 7),
        'roi_head.bbox_head.shared_fcs.1': (hidden, hidden),
        'roi_head.bbox_head.fc_cls': (classes + 1, hidden),
        'roi_head.bbox_head.fc_reg': (4 if boxes == 4 else 4 * classes, hidden),
    }
    for level in range(4):
        inner = channels // 2 ** (3 - level)
        weights[f'neck.lateral_convs.{level}.conv'] = (width, inner, 1, 1)
        weights[f'neck.fpn_convs.{level}.conv'] = (width, width, 3, 3)
    if any(name.startswith('roi_head.mask_head.') for name in shapes):
        mask = _size(shapes, 'roi_head.mask_head.convs.0.conv.weight')
        masks = _size(shapes, 'roi_head.mask_head.conv_logits.weight')
        for i in range(4):
            inner = width if i == 0 else mask
            weights[f'roi_head.mask_head.convs.{i}.conv'] = (mask, inner, 3, 3)
        weights['roi_head.mask_head.upsample'] = (mask, mask, 2, 2)
        logits = (1 if masks == 1 else classes, mask, 1, 1)
        weights['roi_head.mask_head.conv_logits'] = logits
    expected: dict[str, Shape] = {}
    for name, shape in weights.items():
        expected[f'{name}.weight'] = shape
        expected[f'{name}.bias'] = shape[:1]
    return expected


def rest_shapes(
    shapes: Mapping[str, Shape], architecture: Architecture, to: str
) -> dict[str, Shape]:
    """Names and shapes of what follows the encoder in a whole model.

    Args:
        shapes: All tensors of the model.
        architecture: The encoder.
        to: ``'classifier'`` or ``'detector'``.

    Raises:
        CheckpointError: The tensor that a size is read from is missing.
    """
    if to == 'detector':
        return _two_stage(shapes, architecture.out_channels)
    return _reduction_and_fc(shapes, architecture.out_channels)

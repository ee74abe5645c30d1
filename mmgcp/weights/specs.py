"""Names and shapes of the tensors that a complete encoder has.

Written out from the architectures, so that a checkpoint is held against the
network it claims to be and not against whatever happens to be in it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import CheckpointError

Shape = tuple[int, ...]

RESNET_BLOCKS: dict[tuple[bool, tuple[int, ...]], int] = {
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


# width, depth and hidden size to the names that mmgcp.SoViT has for them
SO_VITS = {
    (240, 12, 600): 'deit-tiny',
    (384, 12, 1536): 'deit-small',
    (768, 12, 3072): 'deit-base',
    (384, 14, 1152): 't2t-14',
    (384, 14, 1344): 'small',
    (528, 24, 1584): 'base',
}


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


def size_of(shapes: Mapping[str, Shape], name: str, axis: int = 0) -> int:
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
    stem = size_of(shapes, 'stem.7.weight' if deep_stem else 'bn1.weight')
    base = size_of(shapes, 'layer1.0.bn1.weight')
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
        2 * size_of(shapes, f'layers.{i}.0.branch1.1.bn.weight') for i in range(3)
    ) + (size_of(shapes, 'layers.3.bn.weight'),)
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


def so_vit(shapes: Mapping[str, Shape]) -> Architecture:
    """The encoder of So-ViT and of DropCov's transformers.

    Raises:
        CheckpointError: Width, depth and hidden size are those of none of them.
    """
    dim = size_of(shapes, 'cls_token', 2)
    blocks = [int(m[1]) for n in shapes if (m := re.match(r'blocks\.(\d+)\.', n))]
    depth = max(blocks, default=-1) + 1
    hidden = size_of(shapes, 'blocks.0.mlp.fc1.weight')
    if (dim, depth, hidden) not in SO_VITS:
        raise CheckpointError(
            f'{depth} blocks of width {dim} and hidden size {hidden} are of no So-ViT'
        )
    side = round((size_of(shapes, 'pos_embed', 1) - 1) ** 0.5)
    expected: dict[str, Shape] = {
        'cls_token': (1, 1, dim),
        'pos_embed': (1, 1 + side * side, dim),
    }
    tokens = 'visual_tokens.tokens'
    expected[f'{tokens}.stem.0.weight'] = (64, 3, 3, 3)
    expected[f'{tokens}.stem.0.bias'] = (64,)
    channels, growth, layers, narrow = 64, 16, 6, 128
    for stage in (0, 2, 4):
        for i in range(layers):
            name = f'{tokens}.stage.{stage}.denselayer{i + 1}'
            expected[f'{name}.conv1.weight'] = (2 * growth, channels, 1, 1)
            expected[f'{name}.conv2.weight'] = (growth, 2 * growth, 3, 3)
            channels += growth
        expected |= norm_shapes(f'{tokens}.stage.{stage + 1}.norm', channels)
        name = f'{tokens}.stage.{stage + 1}.conv.weight'
        expected[name] = (narrow, channels, 1, 1)
        channels = narrow
    expected[f'{tokens}.transition.weight'] = (dim, narrow, 1, 1)
    expected[f'{tokens}.transition.bias'] = (dim,)
    linear = {
        'attn.proj': (dim, dim),
        'mlp.fc1': (hidden, dim),
        'mlp.fc2': (dim, hidden),
        'norm1': (dim,),
        'norm2': (dim,),
    }
    for i in range(depth):
        expected[f'blocks.{i}.attn.qkv.weight'] = (3 * dim, dim)
        for name, shape in linear.items():
            expected[f'blocks.{i}.{name}.weight'] = shape
            expected[f'blocks.{i}.{name}.bias'] = shape[:1]
    expected['norm.weight'] = expected['norm.bias'] = (dim,)
    return Architecture(SO_VITS[dim, depth, hidden], expected, dim)


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
    if any(name.startswith('visual_tokens.tokens.') for name in names):
        return so_vit(shapes)
    return None

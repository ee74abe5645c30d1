"""Published encoders: torchvision, timm, GCP_Optimization, DropCov, fast-MPN-COV."""

from ..architectures import token_heads
from .base import KeyReport, Layout, Rule, Tensors

IMAGENET_INPUT = dict(
    mean='[123.675, 116.28, 103.53]', std='[58.395, 57.12, 57.375]', to_rgb='true'
)
GAP = dict(pooling_head='gap', last_stage='stride', **IMAGENET_INPUT)
ISQRT = dict(pooling_head='isqrt', last_stage='native', **IMAGENET_INPUT)
DROPCOV = dict(pooling_head='dropcov', last_stage='native', **IMAGENET_INPUT)


def _conv_bn(source: str, target: str, conv: int = 0) -> tuple[Rule, ...]:
    """Rules for a convolution and the batch norm behind it in a ``Sequential``."""
    return (
        (rf'{source}\.{conv}\.weight', rf'{target}.conv.weight'),
        (rf'{source}\.{conv + 1}\.(?P<rest>\w+)', rf'{target}.bn.\g<rest>'),
    )


_CLASSIFIER = ((r'(?:fc|classifier)\.(?:\d+\.)?(weight|bias)', r'head.fc.\1'),)
_REDUCTION = (
    (r'(?i:layer_reduce)\.weight', 'neck.reduction.conv.weight'),
    (r'(?i:layer_reduce_bn)\.(\w+)', r'neck.reduction.bn.\1'),
    *_conv_bn('dimension_reduction', 'neck.reduction'),
    (r'eca_layer\.conv\.weight', 'neck.dropout.importance.weight'),
)

_BLOCK = (r'(layer[1-4]\..+)', r'backbone.\1')
_RESNET = ((r'((?:conv1|bn1)\.\w+)', r'backbone.\1'), _BLOCK, *_CLASSIFIER)
# timm's deep stem is one Sequential, with the last normalization outside of it
_DEEP_RESNET = (
    (r'conv1\.([0134])\.(\w+)', r'backbone.stem.\1.\2'),
    (r'conv1\.6\.weight', 'backbone.stem.6.weight'),
    (r'bn1\.(\w+)', r'backbone.stem.7.\1'),
    *(_BLOCK, *_CLASSIFIER),
)

_FEATURES = r'features(?:\.module)?'
_NUMBERED_RESNET = (
    (_FEATURES + r'\.0\.weight', 'backbone.conv1.weight'),
    (_FEATURES + r'\.1\.(\w+)', r'backbone.bn1.\1'),
    *(
        (_FEATURES + rf'\.{stage + 3}\.(\d+\..+)', rf'backbone.layer{stage}.\1')
        for stage in range(1, 5)
    ),
    *_conv_bn(_FEATURES, 'neck.reduction', 8),
    *((rf'{_FEATURES}\.{old}', new) for old, new in (*_RESNET[:2], *_REDUCTION)),
    *_conv_bn(r'representation\.conv_dr_block', 'neck.reduction'),
    *_CLASSIFIER,
)


def _mobilenet(offset: int) -> tuple[Rule, ...]:
    """Rules for the inverted residuals, numbered from ``1 - offset``."""
    rules: list[Rule] = []
    # first block of torchvision's flat list in each stage of mmpretrain
    starts = (1, 2, 4, 7, 11, 14, 17)
    for index in range(1, 18):
        stage = sum(start <= index for start in starts)
        source = rf'features\.{index - offset}\.conv'
        target = f'backbone.layer{stage}.{index - starts[stage - 1]}.conv'
        # the first block does not expand its channels
        last = 1 if index == 1 else 2
        for part in range(last):
            rules += _conv_bn(rf'{source}\.{part}', f'{target}.{part}')
        rules += _conv_bn(source, f'{target}.{last}', last)
    return (*rules, *_REDUCTION, *_CLASSIFIER)


def _shufflenet() -> tuple[Rule, ...]:
    """Rules for the two branches of the blocks of stages 2 to 4."""
    rules: list[Rule] = []
    for stage in (2, 3, 4):
        # branch, place of the convolution in torchvision's list and in mmpretrain's
        for branch, old, new in ((1, 0, 0), (1, 2, 1), (2, 0, 0), (2, 3, 1), (2, 5, 2)):
            source = rf'stage{stage}\.(\d+)\.branch{branch}'
            target = rf'backbone.layers.{stage - 2}.\1.branch{branch}.{new}'
            rules += _conv_bn(source, target, old)
    return (*rules, *_REDUCTION, *_CLASSIFIER)


def _cut_dead_group(tensors: Tensors, report: KeyReport) -> Tensors:
    """Leave out the third group of the projection, which DropCov's code never reads."""
    projection = tensors.get('neck.wr.weight')
    classifier = tensors.get('head.visual_fc.weight')
    if projection is None or classifier is None or classifier.dim() != 2:
        return tensors
    heads, dims = token_heads(classifier.shape[1], len(projection))
    used = 2 * heads * dims
    if len(projection) > used:
        tensors['neck.wr.weight'] = projection[:used]
        report.changed.append('neck.wr.weight (third group cut, which nothing reads)')
    return tensors


# The first one that fits is taken: special cases come before general ones.
LAYOUTS = (
    Layout(
        name='dropcov',
        signs=(r'layer1\.0\.conv1\.', r'(?i:layer_reduce)', 'eca_layer'),
        rules=(*_RESNET, *_REDUCTION),
        description='ResNet of DropCov',
        meta=DROPCOV,
    ),
    Layout(
        name='mpncov',
        signs=(r'layer1\.0\.conv1\.', r'(?i:layer_reduce)'),
        rules=(*_RESNET, *_REDUCTION),
        description='iSQRT-COV ResNet of GCP_Optimization and fast-MPN-COV (released)',
        meta=ISQRT,
    ),
    Layout(
        name='timm',
        signs=(r'layer1\.0\.conv1\.', r'conv1\.0\.'),
        rules=_DEEP_RESNET,
        description='ResNet-C/D of timm (deep stem); its plain ResNets are torchvision',
        meta=GAP,
    ),
    Layout(
        name='torchvision',
        signs=(r'layer1\.0\.conv1\.',),
        rules=_RESNET,
        description='ResNet of torchvision, timm and GCP_Optimization (GAP)',
        meta=GAP,
    ),
    Layout(
        name='fast-mpn-cov',
        signs=(_FEATURES + r'\.(?:4\.0|layer1\.0)\.conv1\.',),
        rules=_NUMBERED_RESNET,
        description='training and fine-tuning checkpoints of fast-MPN-COV (features.N)',
        meta=ISQRT,
    ),
    Layout(
        name='mobilenet_v2-landscape',
        signs=(r'features\.\d+\.conv\.0\.0\.weight', 'conv1'),
        rules=(
            *_conv_bn('conv1', 'backbone.conv1'),
            *_conv_bn(r'features\.17', 'backbone.conv2'),
            *_mobilenet(1),
        ),
        description='MobileNetV2 of the landscape code of GCP_Optimization',
        meta=IMAGENET_INPUT,
    ),
    Layout(
        name='mobilenet_v2',
        signs=(r'features\.\d+\.conv\.0\.0\.weight',),
        rules=(
            *_conv_bn(r'features\.0', 'backbone.conv1'),
            *_conv_bn(r'features\.18', 'backbone.conv2'),
            *_mobilenet(0),
        ),
        description='MobileNetV2 of torchvision and GCP_Optimization',
        meta=IMAGENET_INPUT,
    ),
    Layout(
        name='shufflenet_v2',
        signs=(r'stage2\.0\.branch2\.',),
        rules=(
            *_conv_bn('conv1', 'backbone.conv1'),
            *_conv_bn('conv5', 'backbone.layers.3'),
            *_shufflenet(),
        ),
        description='ShuffleNetV2 of torchvision and GCP_Optimization',
        meta=IMAGENET_INPUT,
    ),
    Layout(
        name='so-vit',
        signs=(r'visual_tokens\.tokens\.',),
        rules=(
            (
                r'((?:cls_token|pos_embed|visual_tokens|blocks|norm)\b.*)',
                r'backbone.\1',
            ),
            (r'classifier\.representation\.wr\.weight', 'neck.wr.weight'),
            (r'classifier\.representation\.norm\.weight', 'neck.normalization.start'),
            (r'classifier\.(cls_fc|visual_fc)\.(weight|bias)', r'head.\1.\2'),
        ),
        description='transformer of DropCov or So-ViT (convolutional token embedding)',
        finish=_cut_dead_group,
        meta=IMAGENET_INPUT,
    ),
)

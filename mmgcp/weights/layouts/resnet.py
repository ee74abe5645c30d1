"""ResNets: torchvision, timm, GCP_Optimization, DropCov and fast-MPN-COV."""

from collections.abc import Collection

from .base import Layout, any_match

_FC = (r'fc\.(weight|bias)', r'head.fc.\1')
_BLOCKS = (
    (
        r'(layer[1-4]\.\d+\.(?:conv[123]|bn[123]|downsample\.[012])\.\w+)',
        r'backbone.\1',
    ),
    _FC,
)
_STEM = ((r'((?:conv1|bn1)\.\w+)', r'backbone.\1'),)
# timm's deep stem is one Sequential, with the last normalization outside of it
_DEEP_STEM = (
    (r'conv1\.([0134])\.(\w+)', r'backbone.stem.\1.\2'),
    (r'conv1\.6\.weight', 'backbone.stem.6.weight'),
    (r'bn1\.(\w+)', r'backbone.stem.7.\1'),
)
_REDUCTION = (
    (r'(?:layer_reduce|Layer_Reduce)\.weight', 'neck.reduction.conv.weight'),
    (r'(?:layer_reduce_bn|Layer_Reduce_BN)\.(\w+)', r'neck.reduction.bn.\1'),
)

_FEATURES = r'features\.(?:module\.)?'
_NUMBERED = (
    (_FEATURES + r'0\.weight', 'backbone.conv1.weight'),
    (_FEATURES + r'1\.(\w+)', r'backbone.bn1.\1'),
    *(
        (_FEATURES + rf'{stage + 3}\.(\d+\..+)', rf'backbone.layer{stage}.\1')
        for stage in range(1, 5)
    ),
    (_FEATURES + r'8\.weight', 'neck.reduction.conv.weight'),
    (_FEATURES + r'9\.(\w+)', r'neck.reduction.bn.\1'),
    (_FEATURES + r'((?:conv1|bn1|layer[1-4])\..+)', r'backbone.\1'),
    (_FEATURES + r'layer_reduce\.weight', 'neck.reduction.conv.weight'),
    (_FEATURES + r'layer_reduce_bn\.(\w+)', r'neck.reduction.bn.\1'),
    (r'representation\.conv_dr_block\.0\.weight', 'neck.reduction.conv.weight'),
    (r'representation\.conv_dr_block\.1\.(\w+)', r'neck.reduction.bn.\1'),
    (r'classifier\.(?:\d+\.)?(weight|bias)', r'head.fc.\1'),
)


def _is_resnet(names: Collection[str], *parts: str) -> bool:
    """Whether these are names of a ResNet with exactly these additional parts."""
    return any_match(r'layer1\.0\.conv1\.', names) and all(
        any_match(part, names) == (part in parts)
        for part in (r'(?i)layer_reduce', r'eca_layer', r'conv1\.0\.')
    )


LAYOUTS = (
    Layout(
        name='torchvision',
        matches=lambda names: _is_resnet(names),
        rules=_STEM + _BLOCKS,
        description='ResNet of torchvision, timm and the GAP models of '
        'GCP_Optimization',
        meta=dict(pooling_head='gap', last_stage='stride'),
    ),
    Layout(
        name='timm',
        matches=lambda names: _is_resnet(names, r'conv1\.0\.'),
        rules=_DEEP_STEM + _BLOCKS,
        description='ResNet-C/D of timm (deep stem); its plain ResNets are torchvision',
        meta=dict(pooling_head='gap', last_stage='stride'),
    ),
    Layout(
        name='mpncov',
        matches=lambda names: _is_resnet(names, r'(?i)layer_reduce'),
        rules=_STEM + _BLOCKS + _REDUCTION,
        description='iSQRT-COV ResNet of GCP_Optimization (its landscape code too) '
        'and of fast-MPN-COV (released)',
        meta=dict(pooling_head='isqrt', last_stage='native'),
    ),
    Layout(
        name='dropcov',
        matches=lambda names: _is_resnet(names, r'(?i)layer_reduce', 'eca_layer'),
        rules=_STEM
        + _BLOCKS
        + _REDUCTION
        + ((r'eca_layer\.conv\.weight', 'neck.dropout.importance.weight'),),
        description='ResNet of DropCov',
        meta=dict(pooling_head='dropcov', last_stage='native'),
    ),
    Layout(
        name='fast-mpn-cov',
        matches=lambda names: any_match(
            _FEATURES + r'(?:4\.0|layer1\.0)\.conv1\.', names
        ),
        rules=_NUMBERED,
        description='training and fine-tuning checkpoints of fast-MPN-COV (features.N)',
        meta=dict(pooling_head='isqrt', last_stage='native'),
    ),
)

"""ResNets: torchvision, timm, GCP_Optimization, DropCov and fast-MPN-COV."""

from .base import Layout, Rule, any_match

_BLOCKS = (
    Rule(r'((?:conv1|bn1)\.\w+)', r'backbone.\1'),
    Rule(
        r'(layer[1-4]\.\d+\.(?:conv[123]|bn[123]|downsample\.[012])\.\w+)',
        r'backbone.\1',
    ),
)
_FC = (Rule(r'fc\.(weight|bias)', r'head.fc.\1'),)
_REDUCTION = (
    Rule(r'layer_reduce\.weight', 'neck.reduction.conv.weight'),
    Rule(r'layer_reduce_bn\.(\w+)', r'neck.reduction.bn.\1'),
)

# timm's deep stem is one Sequential, with the last normalisation outside of it
_DEEP_STEM = (
    Rule(r'conv1\.([0134])\.(\w+)', r'backbone.stem.\1.\2'),
    Rule(r'conv1\.6\.weight', 'backbone.stem.6.weight'),
    Rule(r'bn1\.(\w+)', r'backbone.stem.7.\1'),
)

_FEATURES = r'features\.(?:module\.)?'
_NUMBERED = (
    Rule(_FEATURES + r'0\.weight', 'backbone.conv1.weight'),
    Rule(_FEATURES + r'1\.(\w+)', r'backbone.bn1.\1'),
    *(
        Rule(_FEATURES + rf'{stage + 3}\.(\d+\..+)', rf'backbone.layer{stage}.\1')
        for stage in range(1, 5)
    ),
    Rule(_FEATURES + r'8\.weight', 'neck.reduction.conv.weight'),
    Rule(_FEATURES + r'9\.(\w+)', r'neck.reduction.bn.\1'),
    Rule(_FEATURES + r'((?:conv1|bn1|layer[1-4])\..+)', r'backbone.\1'),
    Rule(_FEATURES + r'layer_reduce\.weight', 'neck.reduction.conv.weight'),
    Rule(_FEATURES + r'layer_reduce_bn\.(\w+)', r'neck.reduction.bn.\1'),
    Rule(r'representation\.conv_dr_block\.0\.weight', 'neck.reduction.conv.weight'),
    Rule(r'representation\.conv_dr_block\.1\.(\w+)', r'neck.reduction.bn.\1'),
    Rule(r'classifier\.(?:\d+\.)?(weight|bias)', r'head.fc.\1'),
)


def _has_resnet(names) -> bool:
    return any_match(r'layer1\.0\.conv1\.', names)


TIMM_DEEP_STEM = Layout(
    name='timm',
    matches=lambda names: _has_resnet(names) and any_match(r'conv1\.0\.', names),
    rules=_DEEP_STEM + _BLOCKS[1:] + _FC,
    description='ResNet-C/D of timm (deep stem); its plain ResNets are torchvision',
    meta=dict(pooling_head='gap', last_stage='stride'),
)
TORCHVISION_RESNET = Layout(
    name='torchvision',
    matches=lambda names: (
        _has_resnet(names)
        and not any_match(r'(?i)layer_reduce', names)
        and not any_match(r'conv1\.0\.', names)
    ),
    rules=_BLOCKS + _FC,
    description='ResNet of torchvision, timm and the GAP models of GCP_Optimization',
    meta=dict(pooling_head='gap', last_stage='stride'),
)
MPNCOV_RESNET = Layout(
    name='mpncov',
    matches=lambda names: (
        _has_resnet(names)
        and any_match(r'layer_reduce', names)
        and not any_match(r'eca_layer', names)
    ),
    rules=_BLOCKS + _REDUCTION + _FC,
    description='iSQRT-COV ResNet of GCP_Optimization and of fast-MPN-COV (released)',
    meta=dict(pooling_head='isqrt', last_stage='native'),
)
DROPCOV_RESNET = Layout(
    name='dropcov',
    matches=lambda names: _has_resnet(names) and any_match(r'eca_layer', names),
    rules=_BLOCKS
    + _REDUCTION
    + _FC
    + (Rule(r'eca_layer\.conv\.weight', 'neck.dropout.importance.weight'),),
    description='ResNet of DropCov',
    meta=dict(pooling_head='dropcov', last_stage='native'),
)
LANDSCAPE_RESNET = Layout(
    name='landscape',
    matches=lambda names: _has_resnet(names) and any_match(r'Layer_Reduce', names),
    rules=_BLOCKS
    + (
        Rule(r'Layer_Reduce\.weight', 'neck.reduction.conv.weight'),
        Rule(r'Layer_Reduce_BN\.(\w+)', r'neck.reduction.bn.\1'),
    )
    + _FC,
    description='iSQRT-COV ResNet of the landscape code of GCP_Optimization',
    meta=dict(pooling_head='isqrt', last_stage='native'),
)
FAST_MPN_COV = Layout(
    name='fast-mpn-cov',
    matches=lambda names: any_match(
        r'features\.(?:module\.)?(?:4\.0|layer1\.0)\.conv1\.', names
    ),
    rules=_NUMBERED,
    description='training and fine-tuning checkpoints of fast-MPN-COV (features.N)',
    meta=dict(pooling_head='isqrt', last_stage='native'),
)

LAYOUTS = (
    DROPCOV_RESNET,
    MPNCOV_RESNET,
    LANDSCAPE_RESNET,
    TIMM_DEEP_STEM,
    TORCHVISION_RESNET,
    FAST_MPN_COV,
)

"""MobileNetV2 and ShuffleNetV2: torchvision, GCP_Optimization and its variants."""

from collections.abc import Collection

from .base import Layout, any_match

# first block of torchvision's flat list in each stage of mmpretrain
_STAGE_STARTS = (1, 2, 4, 7, 11, 14, 17)
_REDUCTION = (
    (
        r'(?:dimension_reduction\.0|Layer_Reduce)\.weight',
        'neck.reduction.conv.weight',
    ),
    (r'(?:dimension_reduction\.1|Layer_Reduce_BN)\.(\w+)', r'neck.reduction.bn.\1'),
)


def _conv_bn(source: str, target: str) -> tuple:
    return (
        (source + r'\.0\.weight', f'{target}.conv.weight'),
        (source + r'\.1\.(\w+)', rf'{target}.bn.\1'),
    )


def _mobilenet_blocks(offset: int) -> tuple:
    """Rules for the inverted residuals, numbered from ``1 - offset``."""
    rules: list[tuple[str, str]] = []
    for index in range(1, 18):
        stage = sum(start <= index for start in _STAGE_STARTS)
        block = index - _STAGE_STARTS[stage - 1]
        source = rf'features\.{index - offset}\.conv\.'
        target = f'backbone.layer{stage}.{block}.conv.'
        last = 1 if index == 1 else 2
        for part in range(last):
            rules.extend(_conv_bn(f'{source}{part}', f'{target}{part}'))
        rules.append((source + rf'{last}\.weight', f'{target}{last}.conv.weight'))
        rules.append((source + rf'{last + 1}\.(\w+)', rf'{target}{last}.bn.\1'))
    return tuple(rules)


def _shufflenet_branch(branch: int, convs: dict[int, int]) -> tuple:
    """Rules for one branch; ``convs`` numbers mmpretrain's by torchvision's."""
    rules = []
    for position, index in convs.items():
        for stage in (2, 3, 4):
            source = rf'stage{stage}\.(\d+)\.branch{branch}\.'
            target = rf'backbone.layers.{stage - 2}.\1.branch{branch}.{index}.'
            rules.append((source + rf'{position}\.weight', target + 'conv.weight'))
            rules.append((source + rf'{position + 1}\.(\w+)', target + r'bn.\2'))
    return tuple(rules)


def _is_mobilenet(names: Collection[str]) -> bool:
    return any_match(r'features\.\d+\.conv\.0\.0\.weight', names)


LAYOUTS = (
    Layout(
        name='mobilenet_v2',
        matches=lambda names: _is_mobilenet(names) and not any_match('conv1', names),
        rules=_conv_bn(r'features\.0', 'backbone.conv1')
        + _mobilenet_blocks(0)
        + _conv_bn(r'features\.18', 'backbone.conv2')
        + _REDUCTION
        + ((r'classifier\.(?:1\.)?(weight|bias)', r'head.fc.\1'),),
        description='MobileNetV2 of torchvision and GCP_Optimization, GAP or iSQRT-COV',
    ),
    Layout(
        name='mobilenet_v2-landscape',
        matches=lambda names: _is_mobilenet(names) and any_match('conv1', names),
        rules=_conv_bn('conv1', 'backbone.conv1')
        + _mobilenet_blocks(1)
        + _conv_bn(r'features\.17', 'backbone.conv2')
        + _REDUCTION
        + ((r'fc\.(?:1\.)?(weight|bias)', r'head.fc.\1'),),
        description='MobileNetV2 of the landscape code of GCP_Optimization',
    ),
    Layout(
        name='shufflenet_v2',
        matches=lambda names: any_match(r'stage2\.0\.branch2\.', names),
        rules=_conv_bn('conv1', 'backbone.conv1')
        + _shufflenet_branch(1, {0: 0, 2: 1})
        + _shufflenet_branch(2, {0: 0, 3: 1, 5: 2})
        + _conv_bn('conv5', 'backbone.layers.3')
        + _REDUCTION
        + ((r'fc\.(weight|bias)', r'head.fc.\1'),),
        description='ShuffleNetV2 of torchvision and GCP_Optimization, GAP or '
        'iSQRT-COV',
    ),
)

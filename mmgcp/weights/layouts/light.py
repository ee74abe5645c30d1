"""MobileNetV2 and ShuffleNetV2: torchvision, GCP_Optimization and its variants."""

from .base import Layout, Rule, any_match

# first block of torchvision's flat list in each stage of mmpretrain
_STAGE_STARTS = (1, 2, 4, 7, 11, 14, 17)
_REDUCTION = (
    Rule(
        r'(?:dimension_reduction\.0|Layer_Reduce)\.weight', 'neck.reduction.conv.weight'
    ),
    Rule(r'(?:dimension_reduction\.1|Layer_Reduce_BN)\.(\w+)', r'neck.reduction.bn.\1'),
)


def _mobilenet_blocks(offset: int) -> tuple[Rule, ...]:
    """Rules for the inverted residuals, numbered from ``1 - offset``."""
    rules = []
    for index in range(1, 18):
        stage = sum(start <= index for start in _STAGE_STARTS)
        block = index - _STAGE_STARTS[stage - 1]
        source = rf'features\.{index - offset}\.conv\.'
        target = f'backbone.layer{stage}.{block}.conv.'
        last = 1 if index == 1 else 2
        for part in range(last):
            rules.append(
                Rule(source + rf'{part}\.0\.weight', f'{target}{part}.conv.weight')
            )
            rules.append(Rule(source + rf'{part}\.1\.(\w+)', rf'{target}{part}.bn.\1'))
        rules.append(Rule(source + rf'{last}\.weight', f'{target}{last}.conv.weight'))
        rules.append(Rule(source + rf'{last + 1}\.(\w+)', rf'{target}{last}.bn.\1'))
    return tuple(rules)


def _conv_bn(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rule(source + r'\.0\.weight', f'{target}.conv.weight'),
        Rule(source + r'\.1\.(\w+)', rf'{target}.bn.\1'),
    )


def _is_mobilenet(names) -> bool:
    return any_match(r'features\.\d+\.conv\.0\.0\.weight', names)


MOBILENET_V2 = Layout(
    name='mobilenet_v2',
    matches=lambda names: _is_mobilenet(names) and not any_match(r'conv1\.', names),
    rules=_conv_bn(r'features\.0', 'backbone.conv1')
    + _mobilenet_blocks(0)
    + _conv_bn(r'features\.18', 'backbone.conv2')
    + _REDUCTION
    + (Rule(r'classifier\.(?:1\.)?(weight|bias)', r'head.fc.\1'),),
    description='MobileNetV2 of torchvision and GCP_Optimization, GAP or iSQRT-COV',
)
MOBILENET_V2_LANDSCAPE = Layout(
    name='mobilenet_v2-landscape',
    matches=lambda names: _is_mobilenet(names) and any_match(r'conv1\.', names),
    rules=_conv_bn('conv1', 'backbone.conv1')
    + _mobilenet_blocks(1)
    + _conv_bn(r'features\.17', 'backbone.conv2')
    + _REDUCTION
    + (Rule(r'fc\.(?:1\.)?(weight|bias)', r'head.fc.\1'),),
    description='MobileNetV2 of the landscape code of GCP_Optimization',
)


def _shufflenet_branch(branch: int, convs: dict[int, int]) -> tuple[Rule, ...]:
    rules = []
    for position, index in convs.items():
        for stage in (2, 3, 4):
            source = rf'stage{stage}\.(\d+)\.branch{branch}\.'
            target = rf'backbone.layers.{stage - 2}.\1.branch{branch}.{index}.'
            rules.append(Rule(source + rf'{position}\.weight', target + 'conv.weight'))
            rules.append(Rule(source + rf'{position + 1}\.(\w+)', target + r'bn.\2'))
    return tuple(rules)


SHUFFLENET_V2 = Layout(
    name='shufflenet_v2',
    matches=lambda names: any_match(r'stage2\.0\.branch2\.', names),
    rules=_conv_bn('conv1', 'backbone.conv1')
    + _shufflenet_branch(1, {0: 0, 2: 1})
    + _shufflenet_branch(2, {0: 0, 3: 1, 5: 2})
    + _conv_bn('conv5', 'backbone.layers.3')
    + _REDUCTION
    + (Rule(r'fc\.(weight|bias)', r'head.fc.\1'),),
    description='ShuffleNetV2 of torchvision and GCP_Optimization, GAP or iSQRT-COV',
)

LAYOUTS = (MOBILENET_V2, MOBILENET_V2_LANDSCAPE, SHUFFLENET_V2)

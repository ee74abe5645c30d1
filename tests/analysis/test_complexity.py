"""Counts of the published networks."""

import pytest

from mmgcp.analysis.complexity import complexity
from mmgcp.analysis.runs import RunSpec

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth={depth}, strides=(1, 2, 2, {stride})),
    neck={neck},
    head=dict(type='LinearClsHead', num_classes=1000, in_channels={width}),
)
"""
COVARIANCE = (
    "dict(type='mmgcp.GlobalCovariancePooling', in_channels={channels}, "
    'reduced_channels={reduced}, dropout={dropout})'
)


def count(tmp_path, depth, reduced=None, dropout=None):
    pytest.importorskip('mmpretrain')
    channels = 512 if depth < 50 else 2048
    neck, width, stride = "dict(type='GlobalAveragePooling')", channels, 2
    if reduced:
        neck = COVARIANCE.format(channels=channels, reduced=reduced, dropout=dropout)
        width, stride = reduced * (reduced + 1) // 2, 1
    path = tmp_path / f'r{depth}-{reduced}.py'
    path.write_text(CONFIG.format(depth=depth, stride=stride, neck=neck, width=width))
    spec = RunSpec(str(path), 'none', 'x')
    return complexity([spec], tmp_path, shape=(224, 224), device='cpu')['runs'][0]


def test_resnet50_with_average_pooling(tmp_path):
    row = count(tmp_path, 50)
    assert row['parameters'] == 25_557_032
    # 4.09 G with the stride on the 3x3 convolution.
    assert row['multiply_adds'] / 1e9 == pytest.approx(4.09, abs=0.005)


def test_resnet50_with_covariance_pooling(tmp_path):
    row = count(tmp_path, 50, 128)
    # The paper of DropCov: 32.0 M parameters, 6.19 GFLOPs; its count of the
    # plain network (3.86) has the stride on the 1x1 convolution.
    assert row['parameters'] / 1e6 == pytest.approx(32.03, abs=0.005)
    assert row['multiply_adds'] / 1e9 == pytest.approx(6.19, rel=0.015)
    neck = row['parts']['neck']
    reduction, covariance = 2048 * 128 * 196, 128 * 128 * 196
    assert neck['multiply_adds'] == reduction + covariance
    heads = row['pooling_heads']
    assert heads['gap']['multiply_adds'] == 2048 * 1000
    linear = 128 * 129 // 2 * 1000
    assert heads['dropcov']['multiply_adds'] == reduction + covariance + linear
    five, three = (heads[f'isqrt, {n} iterations']['multiply_adds'] for n in (5, 3))
    assert five > three > heads['dropcov']['multiply_adds']
    assert heads['mpn']['multiply_adds'] > heads['dropcov']['multiply_adds']


def test_memory_of_a_head_is_that_of_training(tmp_path):
    row = count(tmp_path, 18, 64, "dict(type='AdaptiveChannelDropout')")
    parts, heads = row['parts'], row['pooling_heads']
    own = parts['neck']['activation_bytes'] + parts['head']['activation_bytes']
    # In the model the last feature map is kept by the encoder already.
    feature_map = 4 * 512 * 14 * 14
    assert heads['dropcov']['activation_bytes'] == own + feature_map


def test_resnet18_with_covariance_pooling(tmp_path):
    row = count(tmp_path, 18, 64)
    assert row['parameters'] / 1e6 == pytest.approx(13.29, abs=0.005)
    # Project page: 1.81 without, 3.11 with covariance pooling.
    assert row['multiply_adds'] / 1e9 == pytest.approx(3.11, rel=0.02)

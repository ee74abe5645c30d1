"""Counts by hand, and of the published networks."""

import pytest
import torch
from torch import nn

from mmgcp.analysis.complexity import (
    complexity,
    count,
    count_flops,
    count_kept_bytes,
)
from mmgcp.analysis.sample import Settings, load_run
from mmgcp.layers import matrix_power, newton_schulz_sqrt
from mmgcp.utils.run_specs import RunSpec

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
    'reduced_channels={reduced})'
)


def flops(call):
    with torch.no_grad():
        return count_flops(call, {})[0]


def test_convolution_and_linear_by_part():
    parts = {'conv': nn.Conv2d(3, 8, 3, padding=1), 'fc': nn.Linear(8, 5)}
    image = torch.randn(2, 3, 6, 6)

    def call():
        return parts['fc'](parts['conv'](image).mean((2, 3)))

    with torch.no_grad():
        total, inside = count_flops(call, parts)
    # Two per multiply-add: 36 positions, 27 inputs, 8 outputs, 2 images.
    assert inside == {'conv': 2 * 2 * 36 * 27 * 8, 'fc': 2 * 2 * 8 * 5}
    assert total == sum(inside.values())


@pytest.mark.parametrize('iterations', [1, 3, 5])
def test_newton_schulz_grows_by_a_number_of_products(iterations):
    matrix = torch.eye(8).repeat(2, 1, 1)
    product = 2 * 2 * 8**3
    found = flops(lambda: newton_schulz_sqrt(matrix, iterations))
    # At most the published 3 N - 3 products, and whole ones.
    assert found % product == 0
    assert found <= max(3 * iterations - 3, 1) * product
    assert found > 0 or iterations == 1


def test_eigendecomposition_counts():
    matrix = torch.eye(8).repeat(2, 1, 1)
    decomposition = 2 * 9 * 8**3
    assert flops(lambda: torch.linalg.eigh(matrix)) == decomposition
    assert flops(lambda: matrix_power(matrix)) > decomposition


def test_kept_bytes_are_what_backward_needs():
    layer = nn.Linear(6, 4)
    x = torch.randn(10, 6, requires_grad=True)
    # The input, in single precision; the weight is a parameter.
    total, inside = count_kept_bytes(lambda: layer(x), layer, {'layer': layer})
    assert (total, inside) == (240, {'layer': 240})
    # exp keeps its result, and what is kept twice counts once.
    total, _ = count_kept_bytes(lambda: x.exp() * x, layer, {})
    assert total == 240 + 240


def row_of(tmp_path, depth, reduced=None):
    pytest.importorskip('mmpretrain')
    channels = 512 if depth < 50 else 2048
    neck, width, stride = "dict(type='GlobalAveragePooling')", channels, 2
    if reduced:
        neck = COVARIANCE.format(channels=channels, reduced=reduced)
        width, stride = reduced * (reduced + 1) // 2, 1
    path = tmp_path / f'r{depth}-{reduced}.py'
    path.write_text(CONFIG.format(depth=depth, stride=stride, neck=neck, width=width))
    spec, settings = RunSpec(str(path), 'none', 'x'), Settings(device='cpu')
    return complexity([spec], tmp_path, settings, shape=(224, 224))['runs'][0]


def test_resnet50_with_average_pooling(tmp_path):
    row = row_of(tmp_path, 50)
    assert row['parameters'] == 25_557_032
    # 4.09 G with the stride on the 3x3 convolution.
    assert row['multiply_adds'] / 1e9 == pytest.approx(4.09, abs=0.005)


def test_resnet50_with_covariance_pooling(tmp_path):
    row = row_of(tmp_path, 50, 128)
    # The paper of DropCov: 32.0 M parameters, 6.19 GFLOPs; its count of the
    # plain network (3.86) has the stride on the 1x1 convolution.
    assert row['parameters'] / 1e6 == pytest.approx(32.03, abs=0.005)
    assert row['multiply_adds'] / 1e9 == pytest.approx(6.19, rel=0.015)
    neck = row['parts']['neck']
    reduction, product = 2048 * 128 * 196, 128 * 128 * 196
    assert neck['multiply_adds'] == reduction + product
    assert row['parts']['head']['multiply_adds'] == 128 * 129 // 2 * 1000


def test_what_a_detector_finds_does_not_change_its_count(spec_of):
    runs = [
        load_run(spec_of('mmdet', seed=seed), Settings(device='cpu')) for seed in (0, 1)
    ]
    runs[1].model.rpn_head.rpn_cls.bias.data.fill_(-100)
    first, second = (count(run, (64, 64)) for run in runs)
    assert first == second
    assert first['boxes_per_image'] == runs[0].cfg.model.test_cfg.rpn.max_per_img
    box_head = runs[0].model.roi_head.bbox_head
    products = sum(m.weight.numel() for m in box_head.modules() if hasattr(m, 'weight'))
    assert first['parts']['roi_head']['multiply_adds'] == (
        first['boxes_per_image'] * products
    )

"""Levels and class-activation maps, held against closed forms."""

import json

import numpy as np
import pytest
import torch

from mmgcp.layers import newton_schulz_sqrt
from mmgcp.layers.covariance import covariance
from mmgcp.utils.config import load_config
from mmgcp.visualization import Predictor
from mmgcp.visualization.feature_maps import LevelView, view_levels
from mmgcp.visualization.files import read_image
from mmgcp.visualization.class_activation import TargetError

from .conftest import CONFIGS


def test_average_pooling_has_the_map_of_its_weights(scenes, checkpoint_of):
    """Behind GAP and a linear layer the map is ``relu(sum_c w_c f_c) / N``."""
    predictor = Predictor(load_config(CONFIGS['gap']), checkpoint_of('gap'))
    image = read_image(next((scenes / 'classification/test/5').iterdir()))
    views, goal = view_levels(predictor, image, target='7')
    last = views[-1]
    assert last.name == 'stage4'
    assert goal.name == '7'
    weight = predictor.model.head.fc.weight[7].detach().numpy()
    positions = last.features.shape[1] * last.features.shape[2]
    expected = np.einsum('c,chw->hw', weight, last.features).clip(0) / positions
    np.testing.assert_allclose(last.cam, expected, rtol=1e-4, atol=1e-7)


def test_mean_gradient_is_blind_behind_covariance_pooling():
    """Why the map is not Grad-CAM: centring makes the mean gradient vanish."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 6, 20, dtype=torch.float64, generator=generator)
    x.requires_grad_()
    weight = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    score = (newton_schulz_sqrt(covariance(x)) * weight).sum()
    (gradient,) = torch.autograd.grad(score, x)
    assert gradient.mean(-1).abs().max() < 1e-12 * gradient.abs().max()
    assert (gradient * x).sum(1).abs().max() > 1e-3


@pytest.mark.parametrize('kind', ['classifier', 'segmenter', 'detector'])
def test_sheet_and_numbers(kind, run_tool, scenes, checkpoint_of, tmp_path):
    done = run_tool(
        'analysis/feature_maps',
        CONFIGS[kind],
        checkpoint_of(kind),
        *('--image', scenes / 'detection/test/000002.png'),
        *('--out', tmp_path, '--channels', 0, 3),
    )
    assert done.status == 0, done.err
    report = json.loads((tmp_path / 'feature_maps.json').read_text())
    levels = {level['level']: level for level in report['models'][0]['levels']}
    assert levels['stage1']['shape'][0] == 16
    assert levels['stage4']['shape'][0] == 128
    assert all(level['rms'] > 0 for level in levels.values())
    assert ('pyramid4' in levels) == (kind == 'detector')
    assert report['models'][0]['cam']['class'] in '0123456789'
    assert levels['stage4']['cam_peak_xy'] is not None
    picture = read_image(tmp_path / 'feature_maps.png')
    assert picture.shape[0] > 168 * len(levels)


def test_maps_are_those_the_model_computes(scenes, checkpoint_of):
    predictor = Predictor(load_config(CONFIGS['segmenter']), checkpoint_of('segmenter'))
    image = read_image(scenes / 'detection/test/000002.png')
    views, _ = view_levels(predictor, image, cam=False)
    batch = predictor.model.data_preprocessor(predictor.prepare(image), False)
    with torch.no_grad():
        levels = predictor.model.backbone(batch['inputs'])
    assert len(views) == len(levels) == 4
    for view, level in zip(views, levels, strict=True):
        rows, columns = view.features.shape[1:]
        expected = level[0, :, :rows, :columns].numpy()
        np.testing.assert_allclose(view.features, expected, atol=1e-6)
        # 64 of the 96 padded pixels are the picture
        assert (rows, columns) == (64 // view.stride,) * 2


def test_constant_channels_are_counted():
    features = np.zeros((3, 4, 5), np.float32)
    features[1, 2, 2] = 1
    view = LevelView('x', features, 8)
    assert view.dead_channels == 2
    assert view.liveliest(1) == [1]
    np.testing.assert_allclose(view.energy[2, 2], np.sqrt(1 / 3))


def test_unknown_class_is_refused_with_those_there_are(scenes, checkpoint_of):
    predictor = Predictor(load_config(CONFIGS['gap']), checkpoint_of('gap'))
    image = read_image(next((scenes / 'classification/test/5').iterdir()))
    with pytest.raises(TargetError, match='--target cat: no such class. There are: 0'):
        view_levels(predictor, image, target='cat')

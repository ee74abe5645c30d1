"""Levels and class-activation maps, compared with closed forms."""

import json

import numpy as np
import pytest
import torch

from mmgcp.utils.config import load_config
from mmgcp.utils.errors import UserError
from mmgcp.visualization import Predictor, read_image
from mmgcp.visualization.feature_maps import Level, levels_of

from .conftest import CONFIGS


def loaded(kind, checkpoint_of):
    return Predictor(load_config(CONFIGS[kind]), checkpoint_of(kind))


def test_average_pooling_has_the_map_of_its_weights(scenes, checkpoint_of):
    """Behind GAP and a linear layer the map is ``relu(sum_c w_c f_c) / N``."""
    predictor = loaded('gap', checkpoint_of)
    image = read_image(next((scenes / 'classification/test/5').iterdir()))
    levels, name, _ = levels_of(predictor, image, target='7')
    last = levels[-1]
    assert (last.name, name) == ('stage4', '7')
    weight = predictor.model.head.fc.weight[7].detach().numpy()
    positions = last.features.shape[1] * last.features.shape[2]
    expected = np.einsum('c,chw->hw', weight, last.features).clip(0) / positions
    np.testing.assert_allclose(last.cam, expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(UserError, match='--target cat: the classes are 0, 1'):
        levels_of(predictor, image, target='cat')


@pytest.mark.parametrize('kind', ['classifier', 'segmentor', 'detector'])
def test_sheet_and_numbers(kind, run_tool, scenes, checkpoint_of, tmp_path):
    done = run_tool(
        *('analysis/feature_maps', CONFIGS[kind], checkpoint_of(kind)),
        *('--image', scenes / 'detection/test/000002.png'),
        *('--out', tmp_path, '--channels', 0, 3),
    )
    assert done.status == 0, done.err
    report = json.loads((tmp_path / 'feature_maps.json').read_text())
    levels = {level['level']: level for level in report['models'][0]['levels']}
    assert levels['stage1']['shape'][0] == 8
    assert levels['stage4']['shape'][0] == 64
    assert all(level['rms'] > 0 for level in levels.values())
    assert ('pyramid4' in levels) == (kind == 'detector')
    assert report['models'][0]['cam']['class'] in '0123456789'
    assert levels['stage4']['cam_peak_xy'] is not None
    picture = read_image(tmp_path / 'feature_maps.png')
    assert picture.shape[0] > 168 * len(levels)


def test_maps_are_those_the_model_computes(scenes, checkpoint_of):
    predictor = loaded('segmentor', checkpoint_of)
    image = read_image(scenes / 'detection/test/000002.png')
    levels, *_ = levels_of(predictor, image, cam=False)
    batch = predictor.model.data_preprocessor(predictor.prepare(image), False)
    with torch.no_grad():
        maps = predictor.model.backbone(batch['inputs'])
    # The backbone returns stages 2 to 4.
    assert len(levels) == len(maps) + 1 == 4
    for level, expected in zip(levels[1:], maps, strict=True):
        # 64 of the 96 padded pixels are the picture
        rows, columns = level.features.shape[1:]
        assert (rows, columns) == (64 // level.stride,) * 2
        expected = expected[0, :, :rows, :columns].numpy()
        np.testing.assert_allclose(level.features, expected, atol=1e-6)


def test_numbers_of_a_level():
    features, cam = np.zeros((3, 4, 5), np.float32), np.zeros((4, 5))
    features[1, 2, 2] = cam[2, 3] = 1
    level = Level('x', features, 8, cam)
    assert level.describe()['constant_channels'] == 2
    assert level.describe()['cam_peak_xy'] == [28, 20]
    np.testing.assert_allclose(level.rms[2, 2], np.sqrt(1 / 3))

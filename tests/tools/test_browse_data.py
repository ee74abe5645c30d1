"""Training samples are shown as the model gets them."""

import json

import numpy as np
import pytest

from mmgcp.utils.config import load_config
from mmgcp.visualization.browse import build_training_set, draws, to_picture
from mmgcp.visualization.files import read_image

from .conftest import CONFIGS


@pytest.mark.parametrize('kind', ['classifier', 'detector', 'segmenter'])
def test_colours_are_those_of_the_file(kind, scenes):
    """Nothing of these pipelines changes a pixel but the order of the channels."""
    config = load_config(CONFIGS[kind])
    if kind == 'detector':
        config.merge_from_dict({'train_dataloader.dataset.pipeline.2.scale': (64, 64)})
    dataset = build_training_set(config)
    packed = dataset[1]
    source = packed['data_samples'].metainfo['img_path']
    shown = to_picture(packed['inputs'], config)
    np.testing.assert_array_equal(shown, read_image(source))


@pytest.mark.parametrize('kind', ['classifier', 'detector', 'segmenter'])
def test_sheet_and_single_pictures(kind, run_tool, scenes, tmp_path):
    done = run_tool(
        'browse_data',
        CONFIGS[kind],
        *('--out', tmp_path, '--count', 3, '--columns', 2, '--original'),
    )
    assert done.status == 0, done.err
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 4
    assert names[-1] == 'samples.png'
    sheet, single = (
        read_image(tmp_path / 'samples.png'),
        read_image(tmp_path / names[0]),
    )
    assert sheet.shape[1] == 2 * single.shape[1] + 6
    before, after = np.split(single[:, : single.shape[1] // 2 * 2], 2, axis=1)
    assert (before != after).any()


def test_draws_depend_on_the_seed_alone(scenes):
    config = load_config(CONFIGS['segmenter'])
    crop = dict(type='RandomCrop', crop_size=(32, 32))
    config.train_dataloader.dataset.pipeline.insert(2, crop)
    dataset = build_training_set(config)

    def pixels(seed):
        return [packed['inputs'].numpy() for *_, packed in draws(dataset, [0], 3, seed)]

    first, again, other = pixels(0), pixels(0), pixels(1)
    np.testing.assert_array_equal(first, again)
    assert (np.stack(first) != np.stack(other)).any()
    assert (first[0] != first[1]).any()


def test_annotations_are_those_of_the_file(scenes):
    config = load_config(CONFIGS['detector'])
    dataset = build_training_set(config)
    packed = dataset[0]
    sample = packed['data_samples']
    file = scenes / 'detection/annotations/instances_train.json'
    content = json.loads(file.read_text())
    boxes = [a['bbox'] for a in content['annotations'] if a['image_id'] == 0]
    expected = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], float)
    scale = sample.metainfo['img_shape'][0] / 64
    found = sample.gt_instances.bboxes.tensor.numpy()
    np.testing.assert_allclose(found, expected * scale, atol=1e-3)

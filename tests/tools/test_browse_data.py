"""Training samples are shown as the model gets them."""

import numpy as np
import pytest

from mmgcp.datasets.building import build_dataset
from mmgcp.utils.config import load_config
from mmgcp.visualization import read_image
from mmgcp.visualization.browse import browse, to_picture

from .conftest import CONFIGS

KINDS = ('classifier', 'detector', 'segmentor')


@pytest.mark.parametrize('kind', KINDS)
def test_colors_are_those_of_the_file(kind, scenes):
    """These pipelines change no pixel; they only change the order of the channels."""
    config = load_config(CONFIGS[kind])
    if kind == 'detector':
        config.merge_from_dict({'train_dataloader.dataset.pipeline.2.scale': (64, 64)})
    packed = build_dataset(config, 'train')[1]
    source = packed['data_samples'].metainfo['img_path']
    shown = to_picture(packed['inputs'])
    np.testing.assert_array_equal(shown, read_image(source))


@pytest.mark.parametrize('kind', KINDS)
def test_sheet_and_single_pictures(kind, run_tool, scenes, tmp_path):
    done = run_tool(
        *('browse_data', CONFIGS[kind], '--out', tmp_path),
        *('--count', 3, '--repeats', 2, '--original'),
    )
    assert done.status == 0, done.err
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 7
    assert names[-1] == 'samples.png'
    sheet, single = (read_image(tmp_path / name) for name in (names[-1], names[0]))
    # 4 in a row, with gaps of 6
    assert sheet.shape[1] == 4 * single.shape[1] + 3 * 6
    before, after = np.split(single[:, : single.shape[1] // 2 * 2], 2, axis=1)
    assert (before != after).any()


def test_augmentation_depends_on_the_seed_alone(scenes, tmp_path):
    path = tmp_path / 'config.py'
    config = load_config(CONFIGS['segmentor'])
    crop = dict(type='RandomCrop', crop_size=(32, 32))
    config.train_dataloader.dataset.pipeline.insert(2, crop)
    config.train_dataloader.dataset.indices = [0]
    config.dump(path)

    def pixels(seed):
        files = browse(path, tmp_path / 'out', repeats=2, seed=seed)
        return [read_image(file) for file in files[1:]]

    first, again, other = pixels(0), pixels(0), pixels(1)
    np.testing.assert_array_equal(first, again)
    assert (np.stack(first) != np.stack(other)).any()
    assert (first[0] != first[1]).any()

"""Corruptions: channels in the right order, and the same noise anywhere."""

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from mmgcp.datasets import Corrupt
from mmgcp.datasets.corruption import corrupt
from mmgcp.utils.errors import UserError

imagecorruptions = pytest.importorskip('imagecorruptions')
PATTERN = np.random.default_rng(0).integers(0, 255, (34, 32, 3)).astype(np.uint8)


def test_channels_are_taken_as_bgr():
    # Snow mixes towards a gray version whose weights differ by channel.
    blue, red = np.zeros((2, 48, 48, 3), np.uint8)
    blue[..., 0], red[..., 2] = 200, 200
    snowy_blue, snowy_red = (corrupt(i, 'snow', 2, 0).astype(int) for i in (blue, red))
    # The luminance of red (0.299) is above that of blue (0.114).
    assert snowy_red.min() > snowy_blue.min()


@pytest.mark.parametrize('name', imagecorruptions.get_corruption_names())
def test_the_seed_decides(name):
    torch_state = torch.get_rng_state()
    first = corrupt(PATTERN, name, 3, seed=5)
    assert first.shape == PATTERN.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, PATTERN)
    np.random.rand(7)
    numpy_state = np.random.get_state()[1].copy()
    assert np.array_equal(first, corrupt(PATTERN, name, 3, seed=5))
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_noise_differs_by_image_severity_and_seed_but_not_by_folder():
    def noisy(path='/data/val/cat/1.png', severity=1, seed=0):
        sample = {'img': PATTERN.copy(), 'img_path': path}
        return Corrupt('gaussian_noise', severity, seed)(sample)['img'].astype(int)

    first = noisy()
    assert np.array_equal(noisy('/scratch/val/cat/1.png'), first)
    for other in (noisy('/data/val/cat/2.png'), noisy(severity=2), noisy(seed=1)):
        assert not np.array_equal(other, first)


class Pictures(BaseDataset):
    def load_data_list(self):
        return [{'img_path': f'val/{i}.png'} for i in range(6)]


def make(results):
    return {**results, 'img': PATTERN.copy()}


def take(results):
    return torch.from_numpy(results['img'])


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_order_and_batches_do_not_matter(workers):
    data = Pictures(pipeline=[make, Corrupt('shot_noise', 3), take])
    alone = torch.stack([data[i] for i in reversed(range(6))]).flip(0)
    loader = DataLoader(data, batch_size=4, num_workers=workers)
    assert torch.equal(torch.cat(list(loader)), alone)


def test_wrong_input_is_refused():
    for image in (PATTERN.astype(np.float32), PATTERN[:20]):
        with pytest.raises(UserError, match=f'{image.dtype} .{len(image)}, 32, 3'):
            corrupt(image, 'fog', 1, 0)
    with pytest.raises(UserError, match="corruption='rain'"):
        Corrupt('rain')
    with pytest.raises(UserError, match='severity=6'):
        Corrupt('fog', 6)

"""Corruptions: known answers on constant images, and the same noise anywhere."""

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from mmgcp.datasets import Corrupt
from mmgcp.datasets.corruption import CORRUPTIONS, corrupt, image_seed
from mmgcp.utils.errors import UserError

pytest.importorskip('imagecorruptions')
GRAY = np.full((48, 48, 3), 100, np.uint8)
PATTERN = np.random.default_rng(0).integers(0, 255, (48, 40, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    'name', ['defocus_blur', 'motion_blur', 'zoom_blur', 'pixelate']
)
@pytest.mark.parametrize('severity', [1, 5])
def test_blur_leaves_a_constant_image_alone(name, severity):
    changed = corrupt(GRAY, name, severity, seed=0).astype(int)
    # Some blur lets zeros in at the border.
    inside = changed[16:-16, 16:-16]
    assert np.abs(inside - 100).max() <= 1


def test_contrast_keeps_the_mean_and_scales_the_rest():
    assert np.abs(corrupt(GRAY, 'contrast', 5, 0).astype(int) - 100).max() <= 1
    changed = corrupt(PATTERN, 'contrast', 3, 0).astype(float)
    mean = PATTERN.mean((0, 1))
    assert np.abs(changed - (mean + 0.2 * (PATTERN - mean))).max() <= 1


def test_brightness_adds_to_a_gray_image():
    assert np.abs(corrupt(GRAY, 'brightness', 2, 0).astype(int) - (100 + 51)).max() <= 1


def test_gaussian_noise_has_its_standard_deviation():
    changed = corrupt(np.full((128, 128, 3), 128, np.uint8), 'gaussian_noise', 1, 3)
    assert changed.astype(float).std() / 255 == pytest.approx(0.08, rel=0.03)


def test_impulse_noise_has_its_share_of_pixels():
    changed = corrupt(np.full((128, 128, 3), 128, np.uint8), 'impulse_noise', 3, 3)
    assert np.isin(changed, [0, 255]).mean() == pytest.approx(0.09, rel=0.05)


def test_channels_are_taken_as_bgr():
    # Snow mixes towards a gray version whose weights differ by channel: for the
    # same seed a blue image and a red one must not just be swapped.
    blue, red = np.zeros((2, 48, 48, 3), np.uint8)
    blue[..., 0], red[..., 2] = 200, 200
    snowy_blue, snowy_red = (corrupt(i, 'snow', 2, 0).astype(int) for i in (blue, red))
    # The luminance of red (0.299) is above that of blue (0.114).
    assert snowy_red.min() > snowy_blue.min()


@pytest.mark.parametrize('name', CORRUPTIONS)
def test_the_seed_decides(name):
    numpy_state = np.random.get_state()[1].copy()
    torch_state = torch.get_rng_state()
    first = corrupt(PATTERN, name, 3, seed=5)
    assert first.shape == PATTERN.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, PATTERN)
    np.random.rand(7)
    assert np.array_equal(first, corrupt(PATTERN, name, 3, seed=5))
    np.random.set_state(('MT19937', numpy_state, 624))
    corrupt(PATTERN, name, 3, seed=6)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_seeds_differ_by_image_corruption_severity_and_seed():
    base = ('cat/1.png', 'fog', 1, 0)
    others = [('cat/2.png', 'fog', 1, 0), ('cat/1.png', 'snow', 1, 0)]
    others += [('cat/1.png', 'fog', 2, 0), ('cat/1.png', 'fog', 1, 1)]
    assert len({image_seed(*x) for x in [base, *others]}) == 5


def test_the_folder_of_the_data_set_does_not_matter():
    step = Corrupt('gaussian_noise', 2)
    images = [
        step({'img': PATTERN.copy(), 'img_path': f'{root}/val/cat/1.png'})['img']
        for root in ('/data/a', '/scratch/b')
    ]
    assert np.array_equal(*images)


class Pictures(BaseDataset):
    def load_data_list(self):
        return [{'img_path': f'val/{i}.png', 'value': i} for i in range(6)]


class Make:
    def __call__(self, results):
        return {**results, 'img': PATTERN.copy()}


class Take:
    def __call__(self, results):
        return torch.from_numpy(results['img'])


@pytest.mark.parametrize('workers', [0, 2])
def test_workers_order_and_batches_do_not_matter(workers):
    steps = [Make(), Corrupt('shot_noise', 3), Take()]
    data = Pictures(pipeline=steps)
    alone = torch.stack([data[i] for i in reversed(range(6))]).flip(0)
    loader = DataLoader(data, batch_size=4, num_workers=workers)
    assert torch.equal(torch.cat(list(loader)), alone)


def test_severity_zero_is_the_image():
    results = {'img': PATTERN}
    assert Corrupt('fog', 0)(results)['img'] is PATTERN


@pytest.mark.parametrize(
    ('image', 'words'),
    [
        (PATTERN.astype(np.float32), 'uint8'),
        (PATTERN[:20], '32 x 32'),
        (PATTERN[..., 0], '48 x 40'),
    ],
)
def test_wrong_images_are_refused(image, words):
    with pytest.raises(UserError, match=words):
        corrupt(image, 'fog', 1, 0)


def test_wrong_arguments_are_refused():
    with pytest.raises(UserError, match="corruption='rain'"):
        Corrupt('rain')
    with pytest.raises(UserError, match='severity=6'):
        Corrupt('fog', 6)
    with pytest.raises(UserError, match='img_path'):
        Corrupt('fog', 1)({'img': PATTERN})

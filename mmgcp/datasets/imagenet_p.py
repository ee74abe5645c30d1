"""The videos of ImageNet-P, frame by frame."""

from pathlib import Path

import mmcv
import numpy as np
from mmengine.dataset import BaseDataset

from mmgcp.registry import DATASETS

from .checking import DataError

#: Perturbations that are tested; four others are for validation.
PERTURBATIONS = (
    *('gaussian_noise', 'shot_noise', 'motion_blur', 'zoom_blur', 'snow'),
    *('brightness', 'translate', 'rotate', 'tilt', 'scale'),
)


@DATASETS.register_module()
class ImageNetP(BaseDataset):
    """Frames of the videos ``data_root/PERTURBATION/WNID/NAME.mp4``, in order.

    A sample has ``img`` (H, W, 3) uint8 in BGR order, ``perturbation``, ``video`` (path
    below the root) and ``frame``, counted from 0. A video has 31 frames, of
    ``translate`` 41.

    Args:
        perturbations: Folders to read. ``indices`` and the like count videos.

    Raises:
        DataError: A folder has no video, or a video has another number of frames.

    D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations", ICLR 2019.
    """

    def __init__(self, *args, perturbations=PERTURBATIONS, **kwargs) -> None:
        # Of an option on the command line, a single name is no list.
        single = isinstance(perturbations, str)
        self.perturbations = [perturbations] if single else perturbations
        self._decoded: tuple[str, list[np.ndarray]] = '', []
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List the videos by perturbation and name."""
        listed: list[dict] = []
        for name in self.perturbations:
            folder = Path(self.data_root or '') / name
            videos = sorted(folder.glob('*/*.mp4'))
            if not videos:
                raise DataError(
                    f'dataset.data_root of ImageNetP: expected videos {folder}/WNID/'
                    '*.mp4, found none. Name the place with --cfg-options '
                    'test_dataloader.dataset.data_root=..., or the perturbations that '
                    'are there with test_dataloader.dataset.perturbations=...'
                )
            frames = 41 if name == 'translate' else 31
            listed += [
                {'img_path': str(video), 'perturbation': name, 'frames': frames}
                for video in videos
            ]
        return listed

    def full_init(self) -> None:
        """Load the list and count the frames of the videos in it."""
        if not self._fully_initialized:
            super().full_init()
            videos = range(super().__len__())
            self._ends = np.cumsum([self.get_data_info(i)['frames'] for i in videos])

    def __len__(self) -> int:
        """Count the frames."""
        self.full_init()
        return int(self._ends[-1])

    def prepare_data(self, idx: int) -> dict:
        """Decode the video of a frame, unless it is that of the frame before."""
        place = int(np.searchsorted(self._ends, idx, side='right'))
        info = self.get_data_info(place)
        path, number = info['img_path'], info['frames']
        if self._decoded[0] != path:
            self._decoded = path, _frames(path, number)
        frame = idx - int(self._ends[place]) + number
        video = '/'.join(Path(path).parts[-3:])
        img = self._decoded[1][frame]
        return self.pipeline({**info, 'img': img, 'frame': frame, 'video': video})


def _frames(path: str, number: int) -> list[np.ndarray]:
    frames = list(mmcv.VideoReader(path))
    if len(frames) != number:
        raise DataError(
            f'{path}: {len(frames)} frames can be read, expected {number}. Download '
            'it again; difficulty 1 of ImageNet-P is meant'
        )
    return frames

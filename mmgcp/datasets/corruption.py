"""Image corruptions as a step of a data pipeline."""

import hashlib
import inspect
from pathlib import PurePath

import numpy as np
from mmcv.transforms import BaseTransform

from mmgcp.registry import TRANSFORMS
from mmgcp.utils.errors import UserError
from mmgcp.utils.random_state import preserved_random_state

# Names and order of ImageNet-C's fifteen main corruptions.
CORRUPTIONS = (
    'gaussian_noise',
    'shot_noise',
    'impulse_noise',
    'defocus_blur',
    'glass_blur',
    'motion_blur',
    'zoom_blur',
    'snow',
    'frost',
    'fog',
    'brightness',
    'contrast',
    'elastic_transform',
    'pixelate',
    'jpeg_compression',
)
SEVERITIES = (1, 2, 3, 4, 5)
SMALLEST_SIDE = 32


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt an image as ImageNet-C does, the same way wherever it runs.

    D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to
    Common Corruptions and Perturbations" (ICLR 2019); for detection C. Michaelis
    et al. (2019). The random numbers of a corruption depend on the image's name,
    the corruption, the severity and ``seed``: not on the order of images, the
    number of workers or the number of processes. All generators are left as
    they were.

    Required Keys: ``img`` (H, W, 3) uint8 in BGR order, ``img_path`` or ``img_id``.
    Modified Keys: ``img``.

    Args:
        corruption: One of :data:`CORRUPTIONS`.
        severity: 1 to 5; 0 leaves the image alone.
        seed: Another draw of the whole benchmark.

    Raises:
        UserError: An unknown corruption or severity.
    """

    def __init__(self, corruption: str, severity: int = 1, seed: int = 0) -> None:
        self.seed = seed
        self.set(corruption, severity)

    def set(self, corruption: str, severity: int) -> None:
        """Change what the next images go through."""
        if corruption not in CORRUPTIONS:
            raise UserError(
                f'Corrupt: corruption={corruption!r}: one of {", ".join(CORRUPTIONS)}'
            )
        if severity not in (0, *SEVERITIES):
            raise UserError(f'Corrupt: severity={severity!r}, an integer from 0 to 5')
        self.corruption, self.severity = corruption, severity

    def transform(self, results: dict) -> dict:
        """Corrupt ``results['img']``.

        Raises:
            UserError: The image has no name, is not uint8 (the step stands behind one
                that normalizes), is smaller than 32 x 32 or has not 3 channels.
        """
        if self.severity == 0:
            return results
        results['img'] = corrupt(
            results['img'],
            self.corruption,
            self.severity,
            image_seed(image_name(results), self.corruption, self.severity, self.seed),
        )
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(corruption={self.corruption!r}, '
            f'severity={self.severity}, seed={self.seed})'
        )


def image_name(results: dict) -> str:
    """Name of an image that does not depend on where the data set lies."""
    if results.get('img_path'):
        return '/'.join(PurePath(results['img_path']).parts[-2:])
    if results.get('img_id') is not None:
        return str(results['img_id'])
    raise UserError(
        'Corrupt needs img_path or img_id to draw the same noise for the same image'
    )


def image_seed(name: str, corruption: str, severity: int, seed: int = 0) -> int:
    """32-bit seed of one image under one corruption."""
    text = f'{seed}|{corruption}|{severity}|{name}'.encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], 'big')


def corrupt(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt one BGR image ``(H, W, 3)`` uint8 with a seed of its own.

    The corruptions are those of the package ``imagecorruptions-imaug``, which
    works on RGB.
    """
    from imagecorruptions import corrupt as apply
    from imagecorruptions import corruption_dict

    if image.dtype != np.uint8:
        raise UserError(f'Corrupt needs a uint8 image, not {image.dtype}')
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < SMALLEST_SIDE:
        raise UserError(
            f'Corrupt needs an image of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} '
            f'x 3, not {" x ".join(map(str, image.shape))}'
        )
    # Most draw from numpy's global generator, some from a seed of their own.
    takes = inspect.signature(corruption_dict[corruption]).parameters
    extra = {'seed': seed} if 'seed' in takes else {}
    with preserved_random_state():
        np.random.seed(seed)
        rgb = np.ascontiguousarray(image[..., ::-1])
        changed = apply(rgb, severity=severity, corruption_name=corruption, **extra)
    return np.ascontiguousarray(changed[..., ::-1])

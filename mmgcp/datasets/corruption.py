"""Image corruptions as a step of a data pipeline."""

import inspect
from pathlib import PurePath

import numpy as np
from mmcv.transforms import BaseTransform

from mmgcp.registry import TRANSFORMS
from mmgcp.utils.errors import UserError
from mmgcp.utils.random_state import hashed_seed, preserved_random_state

SEVERITIES = (1, 2, 3, 4, 5)


@TRANSFORMS.register_module()
class Corrupt(BaseTransform):
    """Corrupt an image as ImageNet-C does, the same way wherever it runs.

    D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations" (ICLR 2019); for detection C. Michaelis et al.
    (2019). The random numbers depend on the image's name, the corruption, the severity
    and ``seed``: not on the order of images, workers or processes.

    Required Keys: ``img`` (H, W, 3) uint8 in BGR order, ``img_path``.
    Modified Keys: ``img``.

    Args:
        corruption: Name of a corruption in the package ``imagecorruptions``.
        severity: 1 to 5; 0 leaves the image alone.

    Raises:
        UserError: An unknown corruption or severity, or an image that is not uint8
            (a step before this one normalizes) or smaller than 32 x 32.
    """

    def __init__(self, corruption: str, severity: int = 1, seed: int = 0) -> None:
        self.seed = seed
        self.set(corruption, severity)

    def set(self, corruption: str, severity: int) -> None:
        """Change what the next images go through."""
        from imagecorruptions import corruption_dict

        if corruption not in corruption_dict:
            names = ', '.join(corruption_dict)
            raise UserError(f'Corrupt: corruption={corruption!r}: one of {names}')
        if severity not in (0, *SEVERITIES):
            raise UserError(f'Corrupt: severity={severity!r}, an integer from 0 to 5')
        self.corruption, self.severity = corruption, severity

    def transform(self, results: dict) -> dict:
        """Corrupt ``results['img']``."""
        if self.severity:
            # The same image has the same name wherever the data set lies.
            image = '/'.join(PurePath(results['img_path']).parts[-2:])
            name = f'{self.seed}|{self.corruption}|{self.severity}|{image}'
            seed = hashed_seed(name)
            results['img'] = corrupt(
                results['img'], self.corruption, self.severity, seed
            )
        return results


def corrupt(image: np.ndarray, corruption: str, severity: int, seed: int) -> np.ndarray:
    """Corrupt one BGR image ``(H, W, 3)`` uint8 with a seed of its own."""
    from imagecorruptions import corrupt as apply  # works on RGB
    from imagecorruptions import corruption_dict

    # Most draw from numpy's global generator, some from a seed of their own.
    takes = inspect.signature(corruption_dict[corruption]).parameters
    extra = {'seed': seed} if 'seed' in takes else {}
    with preserved_random_state():
        np.random.seed(seed)
        rgb = np.ascontiguousarray(image[..., ::-1])
        try:
            changed = apply(rgb, severity, corruption, **extra)
        except AttributeError as error:  # raised for a wrong type or size
            raise UserError(
                f'Corrupt: {error}, got {image.dtype} {image.shape}'
            ) from error
    return np.ascontiguousarray(changed[..., ::-1])

"""Pictures in and out."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mmgcp.datasets.checking import IMAGE_SUFFIXES, file_names
from mmgcp.datasets.verifying import UNREADABLE
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import replacing

VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')


class MediaError(UserError):
    """A picture or a video cannot be read or written."""


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as ``(H, W, 3)`` uint8 RGB, or raise :class:`MediaError`.

    A photograph is turned as its camera says, as the frameworks do.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f'{path}: no such picture')
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
    except UNREADABLE as error:
        raise MediaError(
            f'{path} cannot be read as a picture ({error}). Give one of '
            f'{", ".join(IMAGE_SUFFIXES)}, or a video ({", ".join(VIDEOS)})'
        ) from error


def save_image(image: np.ndarray, path: str | Path) -> Path:
    """Write ``(H, W, 3)`` uint8 RGB atomically, in the format of the suffix."""
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, quality=95)
    return Path(path)


def find_images(path: Path) -> list[Path]:
    """Pictures of a folder and the folders in it, or the file that was given."""
    if not path.exists():
        raise MediaError(f'{path}: no such picture, folder or video')
    if path.is_file():
        return [path]
    found = file_names(path, IMAGE_SUFFIXES)
    if not found:
        kinds = ', '.join(IMAGE_SUFFIXES)
        raise MediaError(f'{path}: no picture ({kinds}) in this folder')
    return [path / name for name in sorted(found)]

"""Pictures and videos in and out, whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmgcp.utils.errors import UserError
from mmgcp.utils.files import replacing

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')


class MediaError(UserError):
    """A picture or a video cannot be read or written."""


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as ``(H, W, 3)`` uint8 RGB.

    Raises:
        MediaError: The file is missing or is no picture.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f'{path}: no such picture')
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise MediaError(
            f'{path} cannot be read as a picture ({error}). Give one of '
            f'{", ".join(IMAGES)}, or a video ({", ".join(VIDEOS)})'
        ) from error


def save_image(image: np.ndarray, path: str | Path) -> Path:
    """Write ``(H, W, 3)`` uint8 RGB atomically.

    Raises:
        MediaError: The suffix is not one of a picture.
    """
    path = Path(path)
    if path.suffix.lower() not in IMAGES:
        raise MediaError(f'{path}: end the name in one of {", ".join(IMAGES)}')
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary)
    return path


def find_images(path: Path) -> list[Path]:
    """Pictures of a folder and the folders in it, or the one picture given.

    Raises:
        MediaError: There is none.
    """
    if not path.exists():
        raise MediaError(f'{path}: no such picture, folder or video')
    if path.is_file():
        return [path]
    found = sorted(
        p for p in path.rglob('*') if p.suffix.lower() in IMAGES and p.is_file()
    )
    if not found:
        raise MediaError(f'{path}: no picture ({", ".join(IMAGES)}) in this folder')
    return found


class Video:
    """The frames of a video as ``(H, W, 3)`` uint8 RGB, and what it needs to be saved.

    Raises:
        MediaError: OpenCV cannot read it, or there is no frame in it.
    """

    def __init__(self, path: str | Path) -> None:
        import cv2

        self.path = Path(path)
        if not self.path.is_file():
            raise MediaError(f'{self.path}: no such video')
        self._capture = cv2.VideoCapture(str(self.path))
        self.frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        if not self._capture.isOpened():
            raise MediaError(
                f'{self.path} cannot be read as a video. Check that it plays, or '
                'convert it to .mp4 (H.264)'
            )

    def __len__(self) -> int:
        return max(self.frames, 0)

    def __iter__(self) -> Iterator[np.ndarray]:
        seen = 0
        while True:
            read, frame = self._capture.read()
            if not read:
                break
            seen += 1
            yield np.ascontiguousarray(frame[..., ::-1])
        self._capture.release()
        if not seen:
            raise MediaError(f'{self.path}: no frame can be read from this video')


@contextmanager
def video_writer(path: str | Path, rate: float):
    """A function that appends RGB frames to a video, which appears when it is whole.

    Raises:
        MediaError: OpenCV has no encoder for it, or nothing was written.
    """
    import cv2

    writer = None
    with replacing(path) as temporary:

        def write(frame: np.ndarray) -> None:
            nonlocal writer
            if writer is None:
                code = cv2.VideoWriter.fourcc(*'mp4v')
                height, width = frame.shape[:2]
                writer = cv2.VideoWriter(str(temporary), code, rate, (width, height))
                if not writer.isOpened():
                    raise MediaError(
                        f'{path}: this build of OpenCV cannot write it; end the name '
                        'in .mp4 or .avi'
                    )
            writer.write(np.ascontiguousarray(frame[..., ::-1]))

        try:
            yield write
        finally:
            if writer is not None:
                writer.release()
        if temporary.stat().st_size == 0:
            raise MediaError(f'{path}: the video is empty; is the disk full?')

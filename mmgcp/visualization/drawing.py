"""Boxes, masks, segments and captions on a picture, with Pillow.

All pictures are ``(H, W, 3)`` uint8 RGB arrays.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, ...]
INK: Color = (24, 24, 24)
PAPER: Color = (255, 255, 255)


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The sans-serif font that matplotlib brings along."""
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont('DejaVu Sans'), size)


def palette_of(classes: int, palette: Sequence | None = None) -> list[Color]:
    """One color for each class: those of the palette, or else distinct ones."""
    # A data set of a framework keeps its palette when a config renames the classes.
    if palette is not None and len(palette) == classes and not isinstance(palette, str):
        return [tuple(int(v) for v in color[:3]) for color in palette]
    from matplotlib import colormaps
    from matplotlib.colors import hsv_to_rgb

    numbers = np.arange(classes)
    if classes <= 20:
        table = colormaps['tab10' if classes <= 10 else 'tab20'](numbers)[:, :3]
    else:  # the hues of neighbors are far apart
        hues, values = (numbers * 0.618034) % 1, np.array([1, 0.7, 0.45])[numbers % 3]
        table = hsv_to_rgb(np.stack([hues, np.ones(classes), values], axis=1))
    return [tuple(int(v) for v in color) for color in np.rint(table * 255)]


def resize(image: np.ndarray, width: int, height: int, smooth: bool) -> np.ndarray:
    """Resize a picture or a map ``(H, W)``; without ``smooth`` pixels stay squares."""
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize((width, height), method))


def enlarge(image: np.ndarray, least: int = 384, most: int | None = None) -> np.ndarray:
    """Enlarge small pictures by a whole number, so that text fits.

    The shorter side gets at least ``least`` pixels, unless the longer one would get
    more than 2048. A picture whose longer side has more than ``most`` is made smaller.
    """
    height, width = image.shape[:2]
    factor: float = max(
        1, min(-(-least // min(height, width)), 2048 // max(height, width))
    )
    if most is not None:
        factor = min(factor, most / max(height, width))
    return resize(image, round(width * factor), round(height * factor), smooth=True)


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: Sequence[float] | np.ndarray | None = None,
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw objects with their names.

    Boxes ``(N, 4)`` are x1, y1, x2, y2 in pixels of ``image``, masks ``(N, H, W)`` bool.
    """
    image = image.copy()
    tints = [colors[i % len(colors)] for i in labels]
    for mask, tint in zip(() if masks is None else masks, tints, strict=False):
        image[mask] = _tinted(image[mask], tint)
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    last = np.asarray([canvas.width - 1, canvas.height - 1] * 2)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, last)
    for (x1, y1, x2, y2), tint in zip(boxes, tints, strict=True):
        outline = (x1, y1, max(x1, x2), max(y1, y2))
        draw.rectangle(outline, outline=tint, width=max(1, min(canvas.size) // 200))
    names = [classes[i] if i < len(classes) else str(i) for i in labels]
    if scores is not None:
        percent = np.asarray(scores) * 100
        names = [f'{name} {p:.0f}' for name, p in zip(names, percent, strict=True)]
    _write_names(canvas, boxes, names, tints)
    return np.asarray(canvas)


def draw_segments(
    image: np.ndarray,
    segments: np.ndarray,
    classes: Sequence[str],
    colors: Sequence[Color],
) -> np.ndarray:
    """Tint each pixel by its class and write the name of each class into its middle.

    Pixels of ``segments`` ``(H, W)`` that are none of ``classes`` (255, background)
    are not tinted.
    """
    known = segments < len(classes)
    image = image.copy()
    image[known] = _tinted(image[known], np.asarray(colors)[segments[known]])
    canvas = Image.fromarray(image)
    shown = np.unique(segments[known])
    places = []
    for index in shown:
        pixels = np.argwhere(segments == index)[:, ::-1]
        # the pixel of the class that is nearest to the mean of its pixels
        nearest = ((pixels - pixels.mean(0)) ** 2).sum(1).argmin()
        places.append((*pixels[nearest],) * 2)
    names, tints = [classes[i] for i in shown], [colors[i] for i in shown]
    _write_names(canvas, places, names, tints)
    return np.asarray(canvas)


def _tinted(pixels: np.ndarray, tint: np.ndarray | Color) -> np.ndarray:
    return (0.45 * pixels + 0.55 * np.asarray(tint)).astype(np.uint8)


def _write_names(
    canvas: Image.Image, boxes: Iterable, names: Sequence[str], tints: Sequence[Color]
) -> None:
    """Write a name on a plate of its color at each box."""
    draw = ImageDraw.Draw(canvas)
    letters = font(max(11, min(canvas.size) // 26))
    taken: list[np.ndarray] = []
    for box, name, tint in zip(boxes, names, tints, strict=True):
        left, top, right, bottom = draw.textbbox((0, 0), name, font=letters)
        size = (right - left + 4, bottom - top + 4)
        plate = label_place(box, size, canvas.size, taken)
        taken.append(plate)
        draw.rectangle(tuple(plate), fill=tint)
        bright = np.dot(tint, (0.299, 0.587, 0.114)) > 140
        corner = (plate[0] + 2 - left, plate[1] + 2 - top)
        draw.text(corner, name, fill=INK if bright else PAPER, font=letters)


def label_place(box: Sequence, size: tuple, picture: tuple, taken: list) -> np.ndarray:
    """Place a name at its box, inside the picture, and on no other name if possible."""
    x1, y1, x2, y2 = box
    width, height = size
    # above the box, inside at the top, inside at the bottom, below
    places = product((x1, x2 - width), (y1 - height, y1, y2 - height, y2))
    inside = np.minimum(list(places), np.array(picture) - size - 1)
    corners = np.maximum(inside, 0)
    plates = np.hstack([corners, corners + size])
    for plate in plates:
        common = (np.maximum(plate, t)[:2] < np.minimum(plate, t)[2:] for t in taken)
        if not any(sides.all() for sides in common):
            return plate
    return plates[0]


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """Put a line of text above a picture, shortened in the middle when too long."""
    width = image.shape[1]
    size = max(10, min(18, width // 26))
    canvas = Image.new('RGB', (width, size + 10), PAPER)
    draw = ImageDraw.Draw(canvas)
    shown, keep = text, len(text)
    while keep > 3 and draw.textlength(shown, font=font(size)) > width - 8:
        keep -= 1
        shown = f'{text[: keep // 2]}…{text[len(text) - keep // 2 :]}'
    draw.text((4, 3), shown, fill=INK, font=font(size))
    return np.concatenate([np.asarray(canvas), image])


def stack(panels: Sequence[np.ndarray], axis: int = 0, gap: int = 6) -> np.ndarray:
    """Put pictures below each other (or beside, ``axis=1``), aligned at the top left."""
    length = max(panel.shape[1 - axis] for panel in panels)
    parts = []
    for number, panel in enumerate(panels, 1):
        margins = [(0, 0)] * 3
        margins[axis] = (0, gap if number < len(panels) else 0)
        margins[1 - axis] = (0, length - panel.shape[1 - axis])
        parts.append(np.pad(panel, margins, constant_values=255))
    return np.concatenate(parts, axis=axis)


def side_by_side(panels: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures into one row, each under its title."""
    return stack([caption(*pair) for pair in zip(panels, titles, strict=True)], axis=1)

"""Boxes, masks, segments and captions on a picture, with Pillow.

All pictures are ``(H, W, 3)`` uint8 RGB arrays.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
INK: Color = (24, 24, 24)
PAPER: Color = (255, 255, 255)
MOST_ROWS = 3  # of a legend


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The sans-serif font that matplotlib brings along."""
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont('DejaVu Sans'), size)


def _color(values: Iterable[float]) -> Color:
    red, green, blue = (int(v) for v in values)
    return red, green, blue


def palette_of(classes: int, palette: Sequence | None = None) -> list[Color]:
    """A colour for each class: those given, else distinct ones of matplotlib.

    A palette of another length belongs to other classes: a data set of the
    framework keeps its own when a config renames the classes.
    """
    if palette is not None and not isinstance(palette, str) and len(palette) == classes:
        return [_color(color[:3]) for color in palette]
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, hsv_to_rgb

    if classes <= 20:
        table = colormaps['tab10' if classes <= 10 else 'tab20']
        colors = np.asarray(cast(ListedColormap, table).colors)[:classes]
    else:
        # neighbours far apart on the wheel of hues
        turns = (np.arange(classes) * 0.618034) % 1.0
        levels = np.array([1.0, 0.7, 0.45])[np.arange(classes) % 3]
        colors = hsv_to_rgb(np.stack([turns, np.ones(classes), levels], axis=1))
    return [_color(color) for color in np.rint(colors * 255)]


def enlarge(image: np.ndarray, least: int = 384) -> tuple[np.ndarray, int]:
    """Enlarge small pictures so that text fits; also gives the whole factor."""
    height, width = image.shape[:2]
    factor = max(1, -(-least // min(height, width)))
    if factor == 1:
        return image, 1
    size = (width * factor, height * factor)
    larger = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(larger), factor


def _text_color(color: Color) -> Color:
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return INK if luminance > 140 else PAPER


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    classes: Sequence[str],
    colors: Sequence[Color],
    scores: Sequence[float] | np.ndarray | None = None,
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """Draw objects with their names.

    Args:
        boxes: ``(N, 4)`` as x1, y1, x2, y2 in pixels of ``image``.
        labels: Index of the class of each.
        scores: Confidence of each, in [0, 1].
        masks: ``(N, H, W)`` bool.
    """
    image = image.copy()
    names = [classes[i] if i < len(classes) else str(i) for i in labels]
    tints = [colors[i % len(colors)] for i in labels]
    if masks is not None:
        for mask, tint in zip(masks, tints, strict=True):
            image[mask] = (0.45 * image[mask] + 0.55 * np.asarray(tint)).astype(
                np.uint8
            )
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    side = min(image.shape[:2])
    width = max(1, side // 200)
    size = max(11, side // 26)
    last = np.asarray([canvas.width - 1, canvas.height - 1] * 2)
    edges = np.asarray(boxes, np.float64).reshape(-1, 4).clip(0, last)
    for (x1, y1, x2, y2), tint in zip(edges, tints, strict=True):
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=tint, width=width)
    taken: list[Box] = []
    for i, (box, name, tint) in enumerate(zip(edges, names, tints, strict=True)):
        text = name if scores is None else f'{name} {100 * float(scores[i]):.0f}'
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font(size))
        plate = _label_place(
            box, right - left + 4, bottom - top + 4, canvas.size, taken
        )
        taken.append(plate)
        draw.rectangle(plate, fill=tint)
        draw.text(
            (plate[0] + 2 - left, plate[1] + 2 - top),
            text,
            fill=_text_color(tint),
            font=font(size),
        )
    return np.asarray(canvas)


def _label_place(
    box: np.ndarray,
    width: float,
    height: float,
    picture: tuple[int, int],
    taken: Sequence[Box],
) -> Box:
    """Where a name goes: at its box, inside the picture, on no other name if possible."""
    x1, y1, x2, y2 = (float(v) for v in box)
    rows = (y1 - height, y1, y2 - height, y2)  # above, inside, inside, below
    places = [(x, y) for x in (x1, x2 - width) for y in rows]
    inside = [
        (
            min(max(x, 0.0), picture[0] - width - 1),
            min(max(y, 0.0), picture[1] - height - 1),
        )
        for x, y in places
    ]
    plates = [(x, y, x + width, y + height) for x, y in inside]
    free = (p for p in plates if not any(_overlap(p, other) for other in taken))
    return next(free, plates[0])


def _overlap(one: Box, other: Box) -> bool:
    return (
        one[0] < other[2]
        and other[0] < one[2]
        and one[1] < other[3]
        and other[1] < one[3]
    )


def draw_segments(
    image: np.ndarray,
    segments: np.ndarray,
    classes: Sequence[str],
    colors: Sequence[Color],
    legend: bool = True,
) -> np.ndarray:
    """Tint each pixel by its class and name the classes below the picture.

    Args:
        segments: ``(H, W)`` class of each pixel. Others than those of ``classes``
            (255, background) keep the picture's own colours.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = np.asarray(colors, np.uint8)[:256]
    known = segments < len(classes)
    tinted = image.copy()
    tint = table[np.where(known, segments, 0)]
    tinted[known] = (0.45 * image + 0.55 * tint).astype(np.uint8)[known]
    if not legend:
        return tinted
    shown = [int(i) for i in np.unique(segments[known])]
    return np.concatenate([tinted, _legend(shown, classes, colors, image.shape[1])])


def _legend(
    shown: Sequence[int], classes: Sequence[str], colors: Sequence[Color], width: int
) -> np.ndarray:
    """Coloured names in rows; the same height whatever the picture shows.

    There are as many rows as all classes need, up to a few. What does not fit is
    counted at the end.
    """
    size = max(9, width // 32)
    lengths = [font(size).getlength(name) + size + 12 for name in classes]
    rows = len(_rows(lengths, width))
    if rows > MOST_ROWS:
        width_of_row, rows = width - 3 * size, MOST_ROWS  # room for the count
    else:
        width_of_row = width
    lines = _rows([lengths[i] for i in shown], width_of_row)
    canvas = Image.new('RGB', (width, rows * (size + 8)), PAPER)
    draw = ImageDraw.Draw(canvas)
    end = (4.0, 4)
    for number, line in enumerate(lines[:rows]):
        x, y = 4.0, 4 + number * (size + 8)
        for position in line:
            index = shown[position]
            draw.rectangle((x, y, x + size - 1, y + size - 1), fill=colors[index])
            draw.text((x + size + 3, y - 2), classes[index], fill=INK, font=font(size))
            x += lengths[index]
        end = (x, y)
    left = sum(map(len, lines[rows:]))
    if left:
        draw.text((end[0], end[1] - 2), f'+{left}', fill=INK, font=font(size))
    return np.asarray(canvas)


def _rows(lengths: Sequence[float], width: float) -> list[list[int]]:
    """Break a line of things of given lengths into rows; at least one row."""
    rows: list[list[int]] = [[]]
    used = 0.0
    for index, length in enumerate(lengths):
        if rows[-1] and used + length > width:
            rows.append([])
            used = 0.0
        rows[-1].append(index)
        used += length
    return rows


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


def side_by_side(
    panels: Sequence[np.ndarray], titles: Sequence[str] | None = None, gap: int = 6
) -> np.ndarray:
    """Put pictures into one row, aligned at the top, each under its title."""
    if titles is not None:
        panels = [caption(p, title) for p, title in zip(panels, titles, strict=True)]
    height = max(panel.shape[0] for panel in panels)
    columns = []
    for panel in panels:
        below = ((0, height - panel.shape[0]), (0, 0), (0, 0))
        columns.append(np.pad(panel, below, constant_values=255))
        columns.append(np.full((height, gap, 3), 255, np.uint8))
    return np.concatenate(columns[:-1], axis=1)


def stack(rows: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Put rows of pictures below each other, aligned at the left."""
    width = max(row.shape[1] for row in rows)
    parts = []
    for row in rows:
        right = ((0, gap), (0, width - row.shape[1]), (0, 0))
        parts.append(np.pad(row, right, constant_values=255))
    return np.concatenate(parts)[:-gap]

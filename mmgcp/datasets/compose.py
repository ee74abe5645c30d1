"""Digits on photographs: the material of each split, and images made of it."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage

from .checking import SPLITS

FRACTIONS = (0.6, 0.2, 0.2)
# Side, in photograph pixels, of the squares that become backgrounds. The same
# for all splits, so that the narrow strips of val and test look like train.
BACKGROUND_SIDE = (64, 128)
MASK_THRESHOLD = 0.4
MIN_VISIBLE = 0.5
LUMINANCE = np.array([0.299, 0.587, 0.114])
# How digits appear; pairs are the limits of a uniform draw.
CROP_HEIGHT = (0.5, 0.9)  # of a digit over the side of the image
SCENE_HEIGHT = (0.18, 0.42)
ROTATION = (-20.0, 20.0)  # degrees, so few that 6 and 9 keep their meaning
ASPECT = (0.75, 1.25)  # width over height, against the original
OPACITY = (0.85, 1.0)
BRIGHTNESS = (0.4, 0.75)  # factor on the photograph, so that digits can be lighter
# By how much (0 to 255) the luminance of a digit exceeds that of the background under
# it, before opacity; white where there is less room.
CONTRAST = 90.0
NOISE = 6.0  # standard deviation on the final pixels


@dataclass(frozen=True)
class Sources:
    """Material of one split.

    ``digits`` ``(K, 8, 8)`` are in [0, 1], without background; ``identities`` ``(K,)``
    are their rows in scikit-learn's ``load_digits``; ``photographs`` are uint8 RGB.
    """

    digits: np.ndarray
    labels: np.ndarray
    identities: np.ndarray
    photographs: tuple[np.ndarray, ...]


def load_sources(seed: int, digits: int = 0) -> dict[str, Sources]:
    """Read scikit-learn's digits and photographs and cut both into splits.

    Digits are cut by identity, class by class; photographs into vertical strips of the
    same proportions. No digit and no background pixel is in two splits. ``seed``
    decides which digit goes where; ``digits`` of each class are used, all for 0.
    """
    from sklearn.datasets import load_digits, load_sample_images

    bundle = load_digits()
    rng = np.random.default_rng([seed, 0])
    cuts = np.cumsum(FRACTIONS)
    rows: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for label in np.unique(bundle.target):
        chosen = rng.permutation(np.flatnonzero(bundle.target == label))
        chosen = chosen[: digits or None]
        first = round(len(chosen) * FRACTIONS[0])
        second = first + round(len(chosen) * FRACTIONS[1])
        for split, part in zip(SPLITS, np.split(chosen, [first, second]), strict=True):
            rows[split].append(part)
    strips = [
        np.split(image, [round(cut * image.shape[1]) for cut in cuts[:2]], axis=1)
        for image in load_sample_images().images
    ]
    sources = {}
    for split, photographs in zip(SPLITS, zip(*strips, strict=True), strict=True):
        identities = np.sort(np.concatenate(rows[split]))
        digits_of = bundle.images[identities] / 16.0, bundle.target[identities]
        sources[split] = Sources(*digits_of, identities, photographs)
    return sources


@dataclass
class Composed:
    """An image ``(S, S, 3)`` uint8 RGB and a visible mask ``(S, S)`` per digit."""

    image: np.ndarray
    masks: list[np.ndarray] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    identities: list[int] = field(default_factory=list)


def background(sources: Sources, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a square of a photograph, resized to ``(size, size, 3)`` float64."""
    photograph = sources.photographs[rng.integers(len(sources.photographs))]
    side = int(rng.integers(BACKGROUND_SIDE[0], BACKGROUND_SIDE[1] + 1))
    top = rng.integers(photograph.shape[0] - side + 1)
    left = rng.integers(photograph.shape[1] - side + 1)
    square = photograph[top : top + side, left : left + side]
    if rng.random() < 0.5:
        square = square[:, ::-1]
    image = Image.fromarray(np.ascontiguousarray(square))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=float)


def stroke(digit: np.ndarray, height: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate and scale one ``(8, 8)`` digit into a coverage map in [0, 1]."""
    scale_y = height / 8.0
    scale_x = scale_y * rng.uniform(*ASPECT)
    angle = np.deg2rad(rng.uniform(*ROTATION))
    cos, sin = np.cos(angle), np.sin(angle)
    side = int(np.ceil(1.5 * max(height, 8.0 * scale_x)))
    center = (side - 1) / 2.0
    inverse = np.array(
        [[cos / scale_y, sin / scale_y], [-sin / scale_x, cos / scale_x]]
    )
    offset = 3.5 - inverse @ np.array([center, center])
    # Cubic interpolation: 8 x 8 pixels enlarged linearly show their grid.
    cover = ndimage.affine_transform(
        digit, inverse, offset=offset, output_shape=(side, side), order=3
    )
    cover = np.clip(cover, 0.0, 1.0)
    rows, columns = np.nonzero(cover > MASK_THRESHOLD)
    return cover[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _color(under: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    color = rng.uniform(0.0, 255.0, 3)
    wanted = float(under.reshape(-1, 3).mean(0) @ LUMINANCE) + CONTRAST
    missing = min(wanted, 255.0) - float(color @ LUMINANCE)
    if missing <= 0:
        return color
    # Towards white: the hue stays, the luminance is exactly the one wanted.
    room = 255.0 - color
    return color + room * missing / float(room @ LUMINANCE)


def compose(
    sources: Sources,
    size: int,
    count: int,
    height: tuple[float, float],
    rng: np.random.Generator,
    digit: int | None = None,
) -> Composed:
    """Put ``count`` digits on a background of ``size`` x ``size`` pixels.

    A digit may cover others as long as at least half of each stays visible. A place
    that would hide more is drawn again, and after 20 draws the digit is left out. Masks
    are of what can be seen. ``height`` limits that of a digit over ``size``; ``digit``
    is an index into ``sources``, drawn when it is ``None``.
    """
    out = Composed(image=background(sources, size, rng) * rng.uniform(*BRIGHTNESS))
    areas: list[int] = []
    for _ in range(count):
        index = int(rng.integers(len(sources.labels))) if digit is None else digit
        cover = stroke(sources.digits[index], size * rng.uniform(*height), rng)
        cover = cover[:size, :size]
        rows, columns = cover.shape
        for _ in range(20):
            top = int(rng.integers(size - rows + 1))
            left = int(rng.integers(size - columns + 1))
            window = np.s_[top : top + rows, left : left + columns]
            mask = np.zeros((size, size), dtype=bool)
            mask[window] = cover > MASK_THRESHOLD
            rest = [other & ~mask for other in out.masks]
            visible = [part.sum() for part in rest]
            if np.all(np.array(visible) >= MIN_VISIBLE * np.array(areas)):
                break
        else:
            continue
        under = out.image[window]
        alpha = (cover * rng.uniform(*OPACITY))[..., None]
        color = _color(under, rng)
        out.image[window] = (1.0 - alpha) * under + alpha * color
        out.masks = [*rest, mask]
        areas.append(int(mask.sum()))
        out.labels.append(int(sources.labels[index]))
        out.identities.append(int(sources.identities[index]))
    noisy = out.image + rng.normal(0.0, NOISE, out.image.shape)
    out.image = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return out

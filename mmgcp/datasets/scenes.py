"""The scenes data sets: three layouts from one generator and one seed.

Classification in class folders, detection as COCO json with boxes and masks,
segmentation in the folders of ADE20K, as the frameworks' own data sets read them.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmgcp.utils.progress import track

from .checking import SPLITS, DataError
from .compose import (
    CROP_HEIGHT,
    SCENE_HEIGHT,
    Composed,
    Sources,
    compose,
    load_sources,
)

# Raise it whenever the same arguments give other bytes than before.
GENERATOR_VERSION = 2
MANIFEST = 'manifest.json'
ADE_FOLDERS = {'train': 'training', 'val': 'validation', 'test': 'test'}
DIGITS_PER_SCENE = (2, 6)


@dataclass(frozen=True)
class ScenesSpec:
    """What to generate; ``tools/make_scenes.py --help`` describes each number.

    Raises:
        DataError: A number is too small.
    """

    seed: int = 0
    train: int = 400
    val: int = 100
    test: int = 200
    size: int = 96
    crops: int = 4
    eval_crops: int = 2
    crop_size: int = 48
    digits: int = 0

    def __post_init__(self) -> None:
        # Digits have no shape left below 32 pixels; of 5 digits each split has one.
        least = dict(seed=0, size=32, crop_size=32, digits=5 if self.digits else 0)
        for name, value in asdict(self).items():
            bound = least.get(name, 1)
            if value < bound:
                raise DataError(f'{name}={value}: must be at least {bound}')


def _rng(spec: ScenesSpec, dataset: int, split: str, index: int) -> np.random.Generator:
    # One generator per image: a larger data set begins with the smaller one.
    return np.random.default_rng([spec.seed, dataset, SPLITS.index(split), index])


def save_image(path: Path, pixels: np.ndarray) -> None:
    """Write an image in the format of its name, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


# Each writer yields after every image.
def _write_classification(
    root: Path, spec: ScenesSpec, split: str, sources: Sources
) -> Iterator[None]:
    for digit, identity in enumerate(sources.identities):
        folder = root / 'classification' / split / str(sources.labels[digit])
        for crop in range(spec.crops if split == 'train' else spec.eval_crops):
            rng = _rng(spec, 1, split, int(identity) * 1000 + crop)
            composed = compose(sources, spec.crop_size, 1, CROP_HEIGHT, rng, digit)
            save_image(folder / f'{identity:04d}_{crop}.png', composed.image)
            yield


def _scenes(
    spec: ScenesSpec, dataset: int, split: str, sources: Sources
) -> Iterator[tuple[str, Composed]]:
    for index in range(getattr(spec, split)):
        rng = _rng(spec, dataset, split, index)
        count = int(rng.integers(DIGITS_PER_SCENE[0], DIGITS_PER_SCENE[1] + 1))
        scene = compose(sources, spec.size, count, SCENE_HEIGHT, rng)
        yield f'{index:06d}.png', scene


def _write_detection(
    root: Path, spec: ScenesSpec, split: str, sources: Sources
) -> Iterator[None]:
    images: list[dict] = []
    annotations: list[dict] = []
    for index, (name, scene) in enumerate(_scenes(spec, 2, split, sources)):
        save_image(root / 'detection' / split / name, scene.image)
        images.append(
            {'id': index, 'file_name': name, 'width': spec.size, 'height': spec.size}
        )
        for digit in range(len(scene.labels)):
            ids = {'id': len(annotations) + 1, 'image_id': index}
            annotations.append({**_annotation(scene, digit), **ids})
        yield
    categories = [{'id': digit + 1, 'name': str(digit)} for digit in range(10)]
    path = root / 'detection' / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    path.write_text(json.dumps(content))


def _annotation(scene: Composed, index: int) -> dict:
    mask = scene.masks[index]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    # COCO's uncompressed run lengths: column-major, zeros first.
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {
        'category_id': scene.labels[index] + 1,
        'bbox': [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        'area': int(mask.sum()),
        'segmentation': {
            'size': list(mask.shape),
            'counts': [0, *counts] if flat[0] else counts,
        },
        'iscrowd': 0,
        'identity': scene.identities[index],
    }


def _write_segmentation(
    root: Path, spec: ScenesSpec, split: str, sources: Sources
) -> Iterator[None]:
    folder = root / 'segmentation'
    for name, scene in _scenes(spec, 3, split, sources):
        labels = np.zeros((spec.size, spec.size), dtype=np.uint8)
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            labels[mask] = label + 1
        save_image(folder / 'images' / ADE_FOLDERS[split] / name, scene.image)
        save_image(folder / 'annotations' / ADE_FOLDERS[split] / name, labels)
        yield


def _write(root: Path, spec: ScenesSpec) -> Iterator[None]:
    sources = load_sources(spec.seed, spec.digits)
    for split in SPLITS:
        for writer in (_write_classification, _write_detection, _write_segmentation):
            yield from writer(root, spec, split, sources[split])
    manifest = {
        'generator_version': GENERATOR_VERSION,
        'arguments': asdict(spec),
        'identities': {s: sources[s].identities.tolist() for s in SPLITS},
        'files': _digests(root),
    }
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob('*') if p.is_file() and p.name != MANIFEST)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _is_made(root: Path, spec: ScenesSpec) -> bool:
    """Whether a folder holds what ``spec`` describes, every file as it was written."""
    try:
        manifest = json.loads((root / MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return (
        manifest.get('generator_version') == GENERATOR_VERSION
        and manifest.get('arguments') == asdict(spec)
        and manifest.get('files') == _digests(root)
    )


def make_scenes(out: str | os.PathLike, spec: ScenesSpec | None = None) -> bool:
    """Generate the scenes data sets in the folder ``out``.

    The folder appears complete or not at all: everything is written beside it and
    renamed. An older scenes data set in its place is replaced.

    Args:
        spec: What to generate; the default is the one the scenes configs expect.

    Returns:
        ``False`` when the folder already held exactly this data set.

    Raises:
        DataError: ``out`` holds something that is not a scenes data set.
    """
    spec, out = spec or ScenesSpec(), Path(out)
    if _is_made(out, spec):
        return False
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise DataError(
            f'{out} holds files but no {MANIFEST}: it is not a scenes data set and '
            'will not be overwritten. Name another folder or empty this one'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{out.name}-', dir=out.parent) as scratch:
        new = Path(scratch) / 'new'
        try:
            for _ in track(_write(new, spec), f'scenes in {out}'):
                pass
        except OSError as error:  # of a full disk, which names no file
            raise OSError(error.errno, error.strerror, str(out)) from error
        with contextlib.suppress(FileNotFoundError):
            os.replace(out, Path(scratch) / 'old')
        try:
            os.replace(new, out)
        except OSError:
            # Another process was faster; the same arguments give the same bytes.
            if not _is_made(out, spec):
                raise
    return True

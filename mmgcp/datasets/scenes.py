"""The scenes data sets: three layouts from one generator and one seed.

Classification in class folders, detection as COCO json with boxes and masks,
segmentation in the folders of ADE20K. All are read by the frameworks' own data
sets; nothing downstream knows that the images were composed.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .compose import CROP, SCENE, Composed, compose
from .digits import CLASSES, SPLITS, Sources, load_sources

# Raise it whenever the same arguments give other bytes than before.
GENERATOR_VERSION = 2
MANIFEST = 'manifest.json'
ADE_FOLDERS = {'train': 'training', 'val': 'validation', 'test': 'test'}
DIGITS_PER_SCENE = (2, 6)


@dataclass(frozen=True)
class ScenesSpec:
    """What to generate.

    Attributes:
        seed: decides every random choice.
        train: number of scenes in the training split, for each of detection and
            segmentation; likewise ``val`` and ``test``.
        size: side of a scene in pixels.
        crops: classification images made of each training digit.
        eval_crops: classification images made of each val and test digit.
        crop_size: side of a classification image in pixels.
        digits: handwritten digits of each class to use, over all splits; 0 for
            all (174 to 183).
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
        if self.seed < 0:
            raise ValueError(f'seed={self.seed}: must not be negative')
        for name in ('train', 'val', 'test', 'crops', 'eval_crops'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name}={getattr(self, name)}: must be at least 1')
        if self.digits < 0 or 0 < self.digits < 5:
            raise ValueError(
                f'digits={self.digits}: 0 for all, or at least 5, so that every '
                'split has one of each class'
            )
        for name in ('size', 'crop_size'):
            if getattr(self, name) < 32:
                raise ValueError(
                    f'{name}={getattr(self, name)}: must be at least 32 pixels, '
                    'or the smallest digits have no shape left'
                )


def _rng(spec: ScenesSpec, dataset: int, split: str, index: int):
    # One generator per image: a larger data set begins with the smaller one.
    return np.random.default_rng([spec.seed, dataset, SPLITS.index(split), index])


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format='PNG')


def _rle(mask: np.ndarray) -> dict:
    """Encode a mask as COCO's uncompressed RLE (column-major, zeros first)."""
    flat = np.concatenate([[0], mask.ravel(order='F').astype(np.int8), [0]])
    changes = np.flatnonzero(np.diff(flat))
    edges = np.concatenate([[0], changes, [mask.size]])
    counts = np.diff(edges)
    if counts[-1] == 0:
        counts = counts[:-1]
    return {'size': list(mask.shape), 'counts': counts.tolist()}


def _annotation(scene: Composed, index: int) -> dict:
    mask = scene.masks[index]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return {
        'category_id': scene.labels[index] + 1,
        'bbox': [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        'area': int(mask.sum()),
        'segmentation': _rle(mask),
        'iscrowd': 0,
        'identity': scene.identities[index],
    }


def _write_classification(
    root: Path, spec: ScenesSpec, split: str, sources: Sources
) -> Iterator[None]:
    crops = spec.crops if split == 'train' else spec.eval_crops
    for digit, (label, identity) in enumerate(
        zip(sources.labels, sources.identities, strict=True)
    ):
        for crop in range(crops):
            rng = _rng(spec, 1, split, int(identity) * 1000 + crop)
            composed = compose(sources, spec.crop_size, 1, CROP, rng, digit=digit)
            name = f'{identity:04d}_{crop}.png'
            _save(root / 'classification' / split / str(label) / name, composed.image)
            yield


def _write_detection(
    root: Path, spec: ScenesSpec, split: str, sources: Sources
) -> Iterator[None]:
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(getattr(spec, split)):
        rng = _rng(spec, 2, split, index)
        count = int(rng.integers(DIGITS_PER_SCENE[0], DIGITS_PER_SCENE[1] + 1))
        scene = compose(sources, spec.size, count, SCENE, rng)
        name = f'{index:06d}.png'
        _save(root / 'detection' / split / name, scene.image)
        images.append(
            {'id': index, 'file_name': name, 'width': spec.size, 'height': spec.size}
        )
        for digit in range(len(scene.labels)):
            annotation = _annotation(scene, digit)
            annotation.update(id=len(annotations) + 1, image_id=index)
            annotations.append(annotation)
        yield
    categories = [{'id': i + 1, 'name': name} for i, name in enumerate(CLASSES)]
    path = root / 'detection' / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(
            {'images': images, 'annotations': annotations, 'categories': categories}
        )
    )


def _write_segmentation(
    root: Path, spec: ScenesSpec, split: str, sources: Sources
) -> Iterator[None]:
    folder = ADE_FOLDERS[split]
    for index in range(getattr(spec, split)):
        rng = _rng(spec, 3, split, index)
        count = int(rng.integers(DIGITS_PER_SCENE[0], DIGITS_PER_SCENE[1] + 1))
        scene = compose(sources, spec.size, count, SCENE, rng)
        labels = np.zeros((spec.size, spec.size), dtype=np.uint8)
        for mask, label in zip(scene.masks, scene.labels, strict=True):
            labels[mask] = label + 1
        name = f'{index:06d}.png'
        _save(root / 'segmentation' / 'images' / folder / name, scene.image)
        _save(root / 'segmentation' / 'annotations' / folder / name, labels)
        yield


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob('*') if p.is_file() and p.name != MANIFEST)


def check_scenes(out: str | os.PathLike, spec: ScenesSpec | None = None) -> list[str]:
    """List what keeps the folder ``out`` from being the data set ``spec`` describes.

    Args:
        out: folder of the data set.
        spec: expected arguments; ``None`` accepts those of the manifest.

    Returns:
        One sentence per problem; empty when every file has its recorded hash.
    """
    out = Path(out)
    try:
        manifest = json.loads((out / MANIFEST).read_text())
    except FileNotFoundError:
        return [f'{out / MANIFEST} is missing']
    except json.JSONDecodeError as error:
        return [f'{out / MANIFEST} is not JSON: {error}']
    problems = []
    if manifest.get('generator_version') != GENERATOR_VERSION:
        problems.append(
            f'generator_version is {manifest.get("generator_version")}, '
            f'this code writes {GENERATOR_VERSION}'
        )
    if spec is not None and manifest.get('arguments') != asdict(spec):
        problems.append(
            f'made with {manifest.get("arguments")}, asked for {asdict(spec)}'
        )
    if problems:
        return problems
    recorded = manifest['files']
    present = {str(path.relative_to(out)): path for path in _files(out)}
    problems += [f'{out / name} is missing' for name in recorded if name not in present]
    problems += [
        f'{out / name} is not ours' for name in present if name not in recorded
    ]
    problems += [
        f'{path} has changed'
        for name, path in present.items()
        if name in recorded and _sha256(path) != recorded[name]
    ]
    return problems


def _generate(root: Path, spec: ScenesSpec, advance: Callable[[], None]) -> None:
    sources = load_sources(spec.seed, spec.digits)
    for split in SPLITS:
        for writer in (_write_classification, _write_detection, _write_segmentation):
            for _ in writer(root, spec, split, sources[split]):
                advance()
    manifest = {
        'generator_version': GENERATOR_VERSION,
        'arguments': asdict(spec),
        'identities': {s: sources[s].identities.tolist() for s in SPLITS},
        'files': {str(p.relative_to(root)): _sha256(p) for p in _files(root)},
    }
    (root / MANIFEST).write_text(json.dumps(manifest, indent=1))


def number_of_images(spec: ScenesSpec) -> int:
    """Count the images ``spec`` asks for."""
    digits = {
        split: len(part.labels)
        for split, part in load_sources(spec.seed, spec.digits).items()
    }
    crops = sum(
        n * (spec.crops if split == 'train' else spec.eval_crops)
        for split, n in digits.items()
    )
    return crops + 2 * (spec.train + spec.val + spec.test)


def make_scenes(
    out: str | os.PathLike,
    spec: ScenesSpec | None = None,
    advance: Callable[[], None] = lambda: None,
) -> bool:
    """Generate the scenes data sets in the folder ``out``.

    The folder appears complete or not at all: everything is written beside it
    and renamed. An interrupted run leaves the previous content untouched.

    Args:
        out: folder to create. One that holds an older scenes data set is replaced.
        spec: what to generate; the default is the one the scenes configs expect.
        advance: called once per image written.

    Returns:
        ``False`` when the folder already held exactly this data set.

    Raises:
        FileExistsError: ``out`` holds something that is not a scenes data set.
    """
    spec = spec or ScenesSpec()
    out = Path(out)
    if not check_scenes(out, spec):
        return False
    if out.exists() and not out.is_dir():
        raise FileExistsError(f'{out} is a file; name a folder')
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise FileExistsError(
            f'{out} holds files but no {MANIFEST}: it is not a scenes data set and '
            'will not be overwritten. Name another folder or empty this one.'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{out.name}-', dir=out.parent) as scratch:
        new = Path(scratch) / 'new'
        _generate(new, spec, advance)
        with contextlib.suppress(FileNotFoundError):
            os.replace(out, Path(scratch) / 'old')
        try:
            os.replace(new, out)
        except OSError:
            # Another process was faster; the same arguments give the same bytes.
            if check_scenes(out, spec):
                raise
    return True


def make_scenes_with_progress(
    out: str | os.PathLike, spec: ScenesSpec | None = None
) -> bool:
    """Do what :func:`make_scenes` does and show a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    spec = spec or ScenesSpec()
    console = Console(stderr=True)
    if not check_scenes(out, spec):
        console.print(f'{out}: already there, every file has its hash', soft_wrap=True)
        return False
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f'scenes in {out}', total=number_of_images(spec))
        made = make_scenes(out, spec, lambda: progress.advance(task))
    return made

"""Looking into every file of COCO, ADE20K and ImageNet folders."""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .checking import IMAGE_SUFFIXES, file_names, read_coco

#: Images and annotations in the published archives.
COCO = {'train2017': (118287, 860001), 'val2017': (5000, 36781)}
ADE20K = {'training': 20210, 'validation': 2000}
IMAGENET = {'train': 1281167, 'val': 50000}
ADE20K_CLASSES = 150


@dataclass
class Findings:
    """What is wrong with a data set, and what was looked at.

    ``errors`` would spoil a training, ``notes`` would not.
    """

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looked_at: int = 0

    def count(self, what: str, found: int, expected: int | None) -> None:
        """Compare a count with the published one (``None``: nothing to compare)."""
        if expected is not None and found != expected:
            self.errors.append(f'{what}: expected {expected}, found {found}')


def verify_coco(
    root: str | os.PathLike,
    splits: Iterable[str] = tuple(COCO),
    decode: bool = True,
    workers: int = 4,
    progress: Callable = lambda items, total, what: items,
    published: bool = True,
) -> Findings:
    """Verify a folder of COCO 2017.

    Args:
        root: Folder with ``annotations/`` and a folder of images per split.
        splits: Names such as ``'val2017'``.
        decode: Decode every image and compare its size with the annotations.
        workers: Threads that decode.
        progress: Wraps an iterable, given its length and what it goes over.
        published: Compare the counts with those of the published archives.

    Raises:
        DataError: An annotation file is damaged.
        FileNotFoundError: An annotation file is not there.
    """
    findings = Findings()
    for split in splits:
        content = read_coco(Path(root, 'annotations', f'instances_{split}.json'))
        folder = Path(root, split)
        images, annotations = content['images'], content['annotations']
        n_images, n_annotations = (
            COCO.get(split, (None, None)) if published else (None,) * 2
        )
        findings.count(f'{split}, images in the annotations', len(images), n_images)
        findings.count(f'{split}, annotations', len(annotations), n_annotations)
        _check_annotations(findings, split, content, progress)
        present = file_names(str(folder), IMAGE_SUFFIXES)
        sizes = {i['file_name']: (i['width'], i['height']) for i in images}
        for name in sorted(sizes.keys() - present):
            findings.errors.append(f'{folder / name}: missing')
        if decode:
            names = sorted(sizes.keys() & present)
            jobs = ((folder / name, sizes[name]) for name in names)
            results = _parallel(lambda job: _image_problem(*job), jobs, workers)
            _collect(findings, progress(results, len(names), f'{split} images'))
    return findings


def _check_annotations(findings, split, content, progress) -> None:
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    if len(images) != len(content['images']):
        findings.errors.append(f'{split}: an image id is given twice')
    seen = set()
    annotations = content['annotations']
    for item in progress(annotations, len(annotations), f'{split} annotations'):
        findings.looked_at += 1
        where = f'{split}, annotation {item.get("id")}'
        if item.get('id') in seen:
            findings.errors.append(f'{where}: its id is given twice')
        seen.add(item.get('id'))
        if item.get('category_id') not in categories:
            findings.errors.append(
                f'{where}: category {item.get("category_id")} unknown'
            )
        image = images.get(item.get('image_id'))
        if image is None:
            findings.errors.append(f'{where}: image {item.get("image_id")} unknown')
            continue
        _check_box(findings, where, item.get('bbox'), image)
        _check_polygons(findings, where, item.get('segmentation'), image)


def _check_box(findings, where, box, image) -> None:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_finite, box)):
        findings.errors.append(f'{where}: bbox {box} is not four numbers')
        return
    x, y, width, height = box
    if width < 0 or height < 0:
        findings.errors.append(f'{where}: bbox {box} has a negative side')
    elif width == 0 or height == 0:
        # Two of the published annotations are such; the data set drops them.
        findings.notes.append(f'{where}: bbox {box} is empty')
    if not _inside(x, x + width, image['width']) or not _inside(
        y, y + height, image['height']
    ):
        size = f'{image["width"]} x {image["height"]}'
        findings.errors.append(f'{where}: bbox {box} leaves its image of {size}')


def _check_polygons(findings, where, polygons, image) -> None:
    if isinstance(polygons, dict):
        size = [image['height'], image['width']]
        if polygons.get('size') != size:
            findings.errors.append(
                f'{where}: mask of {polygons.get("size")}, image of {size}'
            )
        return
    for polygon in polygons or ():
        if len(polygon) < 6 or len(polygon) % 2 or not all(map(_finite, polygon)):
            findings.errors.append(f'{where}: a polygon of {len(polygon)} values')
        elif not _inside(min(polygon[::2]), max(polygon[::2]), image['width']) or (
            not _inside(min(polygon[1::2]), max(polygon[1::2]), image['height'])
        ):
            findings.errors.append(f'{where}: a polygon leaves its image')


def _finite(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _inside(low: float, high: float, size: int) -> bool:
    # Annotations are rounded: up to one pixel outside is not an error.
    return low >= -1 and high <= size + 1


def verify_ade20k(
    root: str | os.PathLike,
    splits: Iterable[str] = tuple(ADE20K),
    decode: bool = True,
    workers: int = 4,
    progress: Callable = lambda items, total, what: items,
    published: bool = True,
) -> Findings:
    """Verify ``ADEChallengeData2016``; arguments as in :func:`verify_coco`."""
    findings = Findings()
    for split in splits:
        images, masks = Path(root, 'images', split), Path(root, 'annotations', split)
        stems = {n[:-4] for n in file_names(str(images), '.jpg')}
        labelled = {n[:-4] for n in file_names(str(masks), '.png')}
        expected = ADE20K.get(split) if published else None
        findings.count(f'{images}, images', len(stems), expected)
        findings.count(f'{masks}, masks', len(labelled), expected)
        for stem in sorted(stems - labelled):
            findings.errors.append(f'{masks / stem}.png: missing')
        for stem in sorted(labelled - stems):
            findings.errors.append(f'{images / stem}.jpg: missing')
        if decode:
            both = sorted(stems & labelled)
            jobs = ((images / f'{s}.jpg', masks / f'{s}.png') for s in both)
            results = _parallel(lambda job: _mask_problem(*job), jobs, workers)
            _collect(findings, progress(results, len(both), split))
    return findings


def verify_imagenet(
    root: str | os.PathLike,
    splits: Iterable[str] = tuple(IMAGENET),
    decode: bool = True,
    workers: int = 4,
    progress: Callable = lambda items, total, what: items,
    published: bool = True,
) -> Findings:
    """Verify ImageNet-1k in class folders; arguments as in :func:`verify_coco`."""
    findings = Findings()
    for split in splits:
        folder = Path(root, split)
        if not folder.is_dir():
            findings.errors.append(f'{folder}: missing')
            continue
        classes = sorted(p for p in folder.iterdir() if p.is_dir())
        findings.count(
            f'{folder}, class folders', len(classes), 1000 if published else None
        )
        names = sorted(file_names(str(folder), IMAGE_SUFFIXES))
        findings.count(
            f'{folder}, images', len(names), IMAGENET.get(split) if published else None
        )
        filled = {name.split('/')[0] for name in names}
        for path in classes:
            if path.name not in filled:
                findings.errors.append(f'{path}: no image in it')
        if decode:
            jobs = ((folder / name, None) for name in names)
            results = _parallel(lambda job: _image_problem(*job), jobs, workers)
            _collect(findings, progress(results, len(names), f'{split} images'))
    return findings


def _image_problem(path: Path, size: tuple[int, int] | None) -> str | None:
    try:
        with Image.open(path) as image:
            image.load()
            found = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f'{path}: cannot be decoded ({error})'
    if size is not None and found != tuple(size):
        return f'{path}: {found[0]} x {found[1]}, annotated as {size[0]} x {size[1]}'
    return None


def _mask_problem(image: Path, mask: Path) -> str | None:
    try:
        with Image.open(mask) as content:
            mode, size = content.mode, content.size
            labels = np.asarray(content)
    except (OSError, ValueError, SyntaxError) as error:
        return f'{mask}: cannot be decoded ({error})'
    if labels.ndim != 2:
        return f'{mask}: mode {mode}, expected one channel of labels'
    if labels.max(initial=0) > ADE20K_CLASSES:
        return f'{mask}: label {labels.max()}, expected 0..{ADE20K_CLASSES}'
    return _image_problem(image, size)


def _parallel(look: Callable, jobs: Iterable, workers: int) -> Iterator[str | None]:
    """Apply ``look`` in threads (decoding releases the lock), a few jobs ahead."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: list = []
        for job in jobs:
            waiting.append(pool.submit(look, job))
            if len(waiting) >= 4 * workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _collect(findings: Findings, results: Iterable[str | None]) -> None:
    for problem in results:
        findings.looked_at += 1
        if problem is not None:
            findings.errors.append(problem)

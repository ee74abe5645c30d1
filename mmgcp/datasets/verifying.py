"""Does every file open, and do the parts of a data set fit together?

``tools/check_data.py`` asks that about published data sets and a user's own data.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mmgcp.utils.errors import first_names
from mmgcp.utils.progress import track

from .checking import IGNORED, IMAGE_SUFFIXES, SPLITS, DataError, file_names, read_coco

#: Images in the published archives, by split or folder; None where they are made by
#: the user or the published numbers differ.
PUBLISHED: dict[str, dict[str, int | None]] = {
    'coco': {'train2017': 118287, 'val2017': 5000},
    'ade20k': {'training': 20210, 'validation': 2000},
    'imagenet': {'train': 1281167, 'val': 50000},
    'imagenet-a': {'': 7500},
    'imagenet-r': {'': 30000},
    'imagenet-sketch': {'sketch': None},
    'stylized-imagenet': {'val': None},
    'cub': {'images': 11788},
    'cars': {'cars_train': 8144, 'cars_test': 8041},
    'aircraft': {'data/images': 10000},
    'inat2017': {'train_val_images': 675170},
}
#: What Pillow raises for damaged files; UnidentifiedImageError is an OSError.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass
class Findings:
    """What is wrong with a data set: ``errors`` spoil a training, ``notes`` do not.

    Images are decoded by ``workers`` threads, unless ``decode`` is false. ``counts``
    has, by split, the number of images, and of each class the boxes, pixels or images.
    """

    decode: bool = True
    workers: int = 4
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)

    def each(self, look: Callable, jobs: Sequence, folder: Path) -> Iterator:
        """Apply ``look`` in threads, for decoding releases the lock."""
        if self.decode:
            with ThreadPool(self.workers) as pool:
                results = pool.imap(lambda job: look(*job), jobs)
                yield from track(results, str(folder), len(jobs))


def image_problem(path: Path, size: Sequence[int] | None = None) -> str | None:
    """What is wrong with an image that should have a size ``(width, height)``."""
    try:
        with Image.open(path) as image:
            # The frameworks turn a photograph as its camera says.
            loaded = ImageOps.exif_transpose(image).size
    except UNREADABLE as error:
        return f'{path}: does not open ({error})'
    if size and loaded != size:
        found, wanted = (f'{width} x {height}' for width, height in (loaded, size))
        return f'{path}: {found}, annotated as {wanted}'
    return None


def read_mask(path: Path) -> np.ndarray:
    """Labels ``(H, W)``; DataError when the mask does not open or has channels."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except UNREADABLE as error:
        raise DataError(f'{path}: does not open ({error})') from error
    if labels.ndim != 2:
        raise DataError(f'{path}: {labels.shape}, expected one channel of labels')
    return labels


# A look at each layout. They return the number of images and what each class has.


def _look_at_folders(found: Findings, folder: Path, classes: Sequence[str]) -> tuple:
    names = sorted(file_names(folder, IMAGE_SUFFIXES))
    counts = dict.fromkeys(classes, 0)
    for name in names:
        label = name.split('/')[0]
        if label in counts:
            counts[label] += 1
        elif '/' in name:
            found.errors.append(f'{folder / name}: its folder is not a class')
    jobs = [(folder / name,) for name in names]
    found.errors += filter(None, found.each(image_problem, jobs, folder))
    return len(names), counts


def _look_at_coco(
    found: Findings, folder: Path, file: Path, classes: Sequence[str]
) -> tuple:
    content = read_coco(file)
    images = {image['id']: image for image in content['images']}
    names = {category['id']: category['name'] for category in content['categories']}
    counts = dict.fromkeys(names.values(), 0)
    if classes and list(counts) != classes:
        found.errors.append(
            f'{file}: categories or their order differ from the training'
        )
    if len(images) != len(content['images']):
        found.errors.append(f'{file}: an image id is given twice')
    seen, without_area = set(), 0
    for item in content['annotations']:
        where, image = f'{file}: annotation {item.get("id")}', item['image_id']
        if item.get('id') in seen:
            found.errors.append(f'{where}: its id is given twice')
        seen.add(item.get('id'))
        without_area += 'area' not in item
        if image not in images:
            found.errors.append(f'{where}: no image {image}')
        elif item['category_id'] not in names:
            found.errors.append(f'{where}: no category {item["category_id"]}')
        else:
            counts[names[item['category_id']]] += 1
            _look_at_shape(found, where, item, images[image])
    if without_area:
        found.errors.append(
            f"{file}: {without_area} annotations without 'area', which mmdet and the "
            'COCO metric read; width x height does when there are no masks'
        )
    sizes = {i['file_name']: (i['width'], i['height']) for i in images.values()}
    present = file_names(folder, IMAGE_SUFFIXES)
    found.errors += [f'{folder / n}: missing' for n in sorted(sizes.keys() - present)]
    jobs = [(folder / name, sizes[name]) for name in sorted(sizes.keys() & present)]
    found.errors += filter(None, found.each(image_problem, jobs, folder))
    return len(images), counts


def _look_at_shape(found: Findings, where: str, item: dict, image: dict) -> None:
    box: Any = item.get('bbox')
    outline = item.get('segmentation')
    width, height = image['width'], image['height']
    of = f'{image["file_name"]} ({width} x {height})'
    try:
        left, top, wide, high = box
        # Annotations are rounded: up to one pixel outside is no error.
        inside = -1 <= left <= left + wide <= width + 1
        if not inside or not -1 <= top <= top + high <= height + 1:
            found.errors.append(f'{where}: bbox {box} outside {of} or of negative size')
        elif not wide * high:
            # Two of the published annotations are such. The data set drops them.
            found.notes.append(f'{where}: bbox {box} is empty')
    except (TypeError, ValueError):
        found.errors.append(f'{where}: bbox {box} is not [x, y, width, height]')
    # Run lengths of another size end a training; polygons are cut at the border.
    if isinstance(outline, dict) and outline.get('size') != [height, width]:
        size = outline.get('size')
        found.errors.append(f'{where}: mask [height, width] {size} on {of}')


def _look_at_masks(
    found: Findings, images: Path, masks: Path, classes: Sequence[str], first: int
) -> tuple:
    pictures = {os.path.splitext(n)[0]: n for n in file_names(images, IMAGE_SUFFIXES)}
    stems = {name[:-4] for name in file_names(masks, '.png')}
    for stem in sorted(stems ^ set(pictures)):
        if stem in stems:
            found.errors.append(f'{masks / stem}.png: no image in {images}')
        else:
            found.errors.append(f'{images / pictures[stem]}: no mask in {masks}')
    both = sorted(stems & set(pictures))
    jobs = [(images / pictures[stem], masks / f'{stem}.png') for stem in both]
    counts = dict.fromkeys(classes if found.decode else (), 0)
    strays: dict[int, list[str]] = {}
    looks = found.each(_look_at_mask, jobs, masks)
    for stem, (problem, pixels) in zip(both, looks, strict=False):
        found.errors += [problem] if problem else []
        for label, count in pixels.items():
            if first <= label < first + len(classes):
                counts[classes[label - first]] += count
            elif label not in (0, IGNORED):
                strays.setdefault(label, []).append(f'{stem}.png')
    if strays:
        # One line for all of them: they are one mistake.
        shown = [f'{n} in {first_names(strays[n], 3)}' for n in sorted(strays)[:6]]
        last = first + len(classes) - 1
        found.errors.append(
            f'{masks}: unknown label {"; ".join(shown)}. Known are {first} to {last}, '
            f'and {IGNORED} is ignored. Correct the masks, or name every class with '
            'classes=[...], or set reduce_zero_label=True if the classes start at 1'
        )
    return len(pictures), counts


def _look_at_mask(image: Path, mask: Path) -> tuple[str | None, dict[int, int]]:
    try:
        labels = read_mask(mask)
    except DataError as error:
        return str(error), {}
    values, counts = np.unique(labels, return_counts=True)
    pixels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return image_problem(image, labels.shape[::-1]), pixels


def _look(
    found: Findings, split: str, places: Any, classes: Sequence[str], first: int = 0
) -> int:
    """Look at one split and count its images.

    ``places`` is a folder of class folders, or a dictionary of the folder ``images``
    and either the file ``annotations`` or the folder ``masks``. ``classes`` may be empty
    for COCO. ``first`` is the label of the first class in masks; 0 in front of it and
    255 are ignored.
    """
    if not isinstance(places, dict):
        where = _existing(places)
        images, counts = _look_at_folders(found, where, classes)
    elif 'masks' in places:
        folder, where = _existing(places['images']), _existing(places['masks'])
        images, counts = _look_at_masks(found, folder, where, classes, first)
    else:
        folder, where = _existing(places['images']), _existing(places['annotations'])
        images, counts = _look_at_coco(found, folder, where, classes)
    found.counts[split] = {'images': images, 'classes': counts}
    # A class nobody can learn is an error; one missing elsewhere is a note.
    listed = found.errors if split == 'train' else found.notes
    listed += [f'{where}: class {n!r} is empty' for n in counts if not counts[n]]
    return images


def verify(
    dataset: str,
    root: str | os.PathLike,
    splits: Iterable[str] | None = None,
    published: bool = True,
    **options: Any,
) -> Findings:
    """Verify a folder of one of the :data:`PUBLISHED` data sets, all splits by default.

    With ``published`` the number of images has to be that of the published archives.
    ``options`` are fields of :class:`Findings`.

    Raises:
        DataError: A folder or an annotation file is not there, or damaged.
    """
    found, root = Findings(**options), Path(root)
    for split in splits or PUBLISHED[dataset]:
        if dataset == 'coco':
            file = root / 'annotations' / f'instances_{split}.json'
            places: Any = {'images': root / split, 'annotations': file}
            classes = []
        elif dataset == 'ade20k':
            masks = root / 'annotations' / split
            places = {'images': root / 'images' / split, 'masks': masks}
            classes = [str(n) for n in range(1, 151)]
        else:
            places, classes = root / split, folder_classes(root / split)
        images = _look(found, split, places, classes, first=1)
        expected = PUBLISHED[dataset].get(split)
        if published and expected not in (None, images):
            text = f'{split or root}: expected {expected} images, found {images}'
            found.errors.append(text)
    return found


def folder_classes(folder: str | Path) -> list[str]:
    """Class names of an image folder: its sub-folders, sorted."""
    return sorted(path.name for path in _existing(folder).iterdir() if path.is_dir())


def class_names(part: str, data: dict[str, Any]) -> list[str]:
    """Class names of a user's data: folders, categories of COCO, or labels of masks.

    They are in the order by which the framework numbers them. Label 0 of masks is the
    first class, or background when ``reduce_zero_label`` is true. Without ``classes``
    the labels are counted up to a gap: what comes after it is taken for a mistake.
    """
    if part == 'classification':
        return folder_classes(data['train'])
    if part == 'detection':
        content = read_coco(_existing(data['train']['annotations']))
        return [category['name'] for category in content['categories']]
    if data.get('classes'):
        return list(data['classes'])
    labels: set[int] = set()
    for path in sorted(_existing(data['train']['masks']).glob('*.png')):
        # A mask that does not open is listed by the check, not here.
        with contextlib.suppress(DataError):
            labels.update(np.unique(read_mask(path)).tolist())
    first = last = 1 if data.get('reduce_zero_label') else 0
    while last in labels - {IGNORED}:
        last += 1
    return [f'class {label}' for label in range(first, last)]


def check_own_data(data: dict[str, Any], **options: Any) -> dict[str, Findings]:
    """Check a user's data, described as in ``own_data`` of a study."""
    result = {}
    for part, value in data.items():
        if part not in ('classification', 'detection', 'segmentation'):
            raise DataError(f'own_data: unknown part {part!r}')
        found = result[part] = Findings(**options)
        first = 1 if value.get('reduce_zero_label') else 0
        try:
            classes = class_names(part, value)
            for split in SPLITS:
                if value.get(split):
                    _look(found, split, value[split], classes, first)
        except KeyError as error:
            raise DataError(f'own_data.{part}: the key {error} is missing') from error
    return result


def _existing(path: str | Path) -> Path:
    if not Path(path).exists():
        raise DataError(f'{path}: no such file or folder')
    return Path(path)

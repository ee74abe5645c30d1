"""Looking at a user's own data before anything trains on it.

``python -m mmgcp.datasets.own_data OUT.json --data DATA.json`` lists what is wrong.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmgcp.utils.cli import ArgumentParser, run_main
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import write_text

from .checking import IMAGE_SUFFIXES, file_names, read_coco

SPLITS = ('train', 'val', 'test')
_IGNORED = 255


class OwnDataError(UserError):
    """The data has faults that would spoil a training."""


@dataclass
class Faults:
    """What is wrong, and what was counted.

    ``errors`` spoil a training; ``notes`` are worth knowing.
    """

    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, Any] = field(default_factory=dict)


def folder_classes(folder: str | Path) -> list[str]:
    """Class names of an image folder: its sub-folders, sorted."""
    return sorted(path.name for path in _folder(folder).iterdir() if path.is_dir())


def coco_classes(annotations: str | Path) -> list[str]:
    """Class names of a COCO file, by category id."""
    categories = read_coco(_file(annotations))['categories']
    return [c['name'] for c in sorted(categories, key=lambda c: c['id'])]


def mask_classes(data: dict[str, Any]) -> list[str]:
    """Class names of masks: ``classes`` of the data, else the labels found.

    Label 0 is the first class, or background when ``reduce_zero_label`` is true.
    """
    if data.get('classes'):
        return list(data['classes'])
    labels: set[int] = set()
    for path in sorted(_folder(data['train']['masks']).glob('*.png')):
        # A mask that does not open is listed by the check, not here.
        with contextlib.suppress(OSError, ValueError, SyntaxError):
            labels.update(np.unique(_labels(path)).tolist())
    labels.discard(_IGNORED)
    first = 1 if data.get('reduce_zero_label') else 0
    return [f'class {label}' for label in range(first, max(labels, default=0) + 1)]


def check_classification(data: dict[str, Any]) -> Faults:
    """Class folders: every image opens, no class is empty or new in a split.

    Args:
        data: A folder for each of ``train``, ``val``, ``test``.
    """
    faults = Faults()
    classes = folder_classes(_folder(data['train']))
    for split in _splits(data):
        folder = _folder(data[split])
        images = sorted(file_names(str(folder), IMAGE_SUFFIXES))
        filled = {name.split('/')[0] for name in images if '/' in name}
        for name in sorted(set(classes) - filled):
            faults.errors.append(f'{folder / name}: class without an image')
        for name in sorted(filled - set(classes)):
            faults.errors.append(f'{folder / name}: not a class of {data["train"]}')
        for name in images:
            _check_image(faults, folder / name)
        faults.counts[split] = {'images': len(images), 'classes': len(filled)}
    return faults


def check_detection(data: dict[str, Any]) -> Faults:
    """COCO files: images open and fit, boxes lie inside, no class is empty.

    Args:
        data: ``{'images': folder, 'annotations': file}`` for each split.
    """
    faults = Faults()
    classes = coco_classes(data['train']['annotations'])
    for split in _splits(data):
        folder = _folder(data[split]['images'])
        file = _file(data[split]['annotations'])
        content = read_coco(file)
        if coco_classes(file) != classes:
            faults.errors.append(
                f'{file}: categories differ from {data["train"]["annotations"]}'
            )
        images = {image['id']: image for image in content['images']}
        for image in images.values():
            size = (image['width'], image['height'])
            _check_image(faults, folder / image['file_name'], size)
        without = sum('area' not in item for item in content['annotations'])
        if without:
            faults.errors.append(
                f"{file}: {without} annotations without 'area', which mmdet and the "
                'COCO metric read; width x height does when there are no masks'
            )
        names = {c['id']: c['name'] for c in content['categories']}
        per_class = dict.fromkeys(names.values(), 0)
        for item in content['annotations']:
            where = f'{file}: annotation {item.get("id")}'
            image = images.get(item.get('image_id'))
            if image is None:
                faults.errors.append(f'{where}: no image {item.get("image_id")}')
            elif item.get('category_id') not in names:
                faults.errors.append(f'{where}: no category {item.get("category_id")}')
            else:
                per_class[names[item['category_id']]] += 1
                _check_box(faults, where, item.get('bbox'), image)
        _check_empty(faults, split, str(file), per_class)
        faults.counts[split] = {'images': len(images), 'boxes': per_class}
    return faults


def check_segmentation(data: dict[str, Any]) -> Faults:
    """Images and masks: pairs are complete, sizes agree, labels are known.

    Args:
        data: ``{'images': folder, 'masks': folder}`` for each split; ``classes``
            and ``reduce_zero_label`` if the masks need them.
    """
    faults = Faults()
    classes = mask_classes(data)
    first = 1 if data.get('reduce_zero_label') else 0
    for split in _splits(data):
        folder, masks = _folder(data[split]['images']), _folder(data[split]['masks'])
        images = {Path(n).stem: n for n in file_names(str(folder), IMAGE_SUFFIXES)}
        pixels = dict.fromkeys(classes, 0)
        found = {Path(name).stem for name in file_names(str(masks), '.png')}
        for stem in sorted(found - set(images)):
            faults.errors.append(f'{masks / stem}.png: no image in {folder}')
        for stem, name in sorted(images.items()):
            if stem not in found:
                faults.errors.append(f'{folder / name}: no mask in {masks}')
                continue
            labels = _check_mask(faults, masks / f'{stem}.png')
            if labels is None:
                continue
            _check_image(faults, folder / name, labels.shape[::-1])
            values, counts = np.unique(labels, return_counts=True)
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                if first <= value < first + len(classes):
                    pixels[classes[value - first]] += count
                elif value not in (_IGNORED, 0):
                    faults.errors.append(
                        f'{masks / stem}.png: label {value}, known are {first} to '
                        f'{first + len(classes) - 1} and {_IGNORED} (ignored)'
                    )
        _check_empty(faults, split, str(masks), pixels)
        faults.counts[split] = {'images': len(images), 'pixels': pixels}
    return faults


CHECKS = {
    'classification': check_classification,
    'detection': check_detection,
    'segmentation': check_segmentation,
}


def check_own_data(data: dict[str, Any]) -> dict[str, Faults]:
    """Check every part of the data that is given.

    Raises:
        OwnDataError: A part is unknown, or a folder or file is not there.
    """
    unknown = sorted(set(data) - set(CHECKS))
    if unknown:
        raise OwnDataError(f'own data: unknown part {unknown[0]!r}; {list(CHECKS)}')
    try:
        return {part: CHECKS[part](value) for part, value in data.items()}
    except KeyError as error:
        raise OwnDataError(f'own data: the key {error} is missing') from error


def _splits(data: dict[str, Any]) -> Iterator[str]:
    return (split for split in SPLITS if data.get(split))


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise OwnDataError(f'own data: {path}: no such folder')
    return Path(path)


def _file(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise OwnDataError(f'own data: {path}: no such file')
    return Path(path)


def _labels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _check_image(
    faults: Faults, path: Path, size: tuple[int, ...] | None = None
) -> None:
    try:
        with Image.open(path) as image:
            image.load()
            found = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        faults.errors.append(f'{path}: does not open ({error})')
        return
    if size is not None and found != tuple(size):
        faults.errors.append(
            f'{path}: {found[0]} x {found[1]}, annotated as {size[0]} x {size[1]}'
        )


def _check_mask(faults: Faults, path: Path) -> np.ndarray | None:
    try:
        labels = _labels(path)
    except (OSError, ValueError, SyntaxError) as error:
        faults.errors.append(f'{path}: does not open ({error})')
        return None
    if labels.ndim != 2:
        faults.errors.append(f'{path}: {labels.shape}, expected one channel of labels')
        return None
    return labels


def _check_box(faults: Faults, where: str, box: Any, image: dict) -> None:
    if not isinstance(box, list) or len(box) != 4:
        faults.errors.append(f'{where}: bbox {box} is not [x, y, width, height]')
        return
    x, y, width, height = box
    if width <= 0 or height <= 0:
        faults.errors.append(f'{where}: bbox {box} is empty')
    # One pixel is what rounding costs.
    elif (
        min(x, y) < -1
        or x + width > image['width'] + 1
        or y + height > image['height'] + 1
    ):
        faults.errors.append(
            f'{where}: bbox {box} outside {image["file_name"]} '
            f'({image["width"]} x {image["height"]})'
        )


def _check_empty(faults: Faults, split: str, where: str, counts: dict) -> None:
    """A class nobody can learn is an error; one missing from a split a note."""
    for name, count in counts.items():
        if count == 0:
            listed = faults.errors if split == 'train' else faults.notes
            listed.append(f'{where}: class {name!r} is empty')


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('out', help='JSON file for what was found')
    parser.add_argument('--data', required=True, help='JSON file that names the data')
    parser.add_argument(
        '--allow-faults', action='store_true', help='succeed in spite of faults'
    )
    args = parser.parse_args(argv)
    data = json.loads(_file(args.data).read_text(encoding='utf-8'))
    found = check_own_data(data)
    for part, faults in found.items():
        for line in faults.errors + [f'(note) {text}' for text in faults.notes]:
            print(f'{part}: {line}')
    content = {part: vars(faults) for part, faults in found.items()}
    write_text(args.out, json.dumps(content, indent=2) + '\n')
    errors = sum(len(faults.errors) for faults in found.values())
    if errors and not args.allow_faults:
        raise OwnDataError(
            f'{errors} faults in the data, all of them above and in {args.out}. '
            'Correct them, or set own_data = dict(allow_faults=True, ...)'
        )


if __name__ == '__main__':
    run_main(main)

"""Finding a missing or half-downloaded data set before a model is built.

Everything here is quick enough for the start of every run: files are listed and
counted, none is decoded. ``tools/check_data.py`` looks into them.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .paths import (
    LOADERS,
    MissingDataError,
    check_data,
    how_to_get,
    innermost_datasets,
)

#: Annotation files up to this size are parsed, larger ones are only searched.
PARSED_BYTES = 64 * 2**20
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.ppm', '.pgm', '.tif', '.webp')


class DataError(MissingDataError):
    """A data set that a config names is missing, incomplete or damaged."""


def check_config(cfg: Mapping, loaders: tuple[str, ...] = LOADERS) -> None:
    """Check the data sets of a config; raise when one is not complete.

    What a config names has to exist. Beyond that, for COCO-style data sets the
    annotation file has to be whole and every image in it present; for
    segmentation every image needs its mask and every mask its image; for ImageNet
    all class folders have to be there and none empty. Data sets of other types and
    remote paths are left to the framework.

    Args:
        cfg (Config): A config of mmengine.
        loaders (tuple[str]): The keys whose data sets are needed.

    Raises:
        DataError: What was expected, what was found, and how to get the data.
    """
    try:
        check_data(cfg, loaders)
    except MissingDataError as error:
        raise DataError(str(error)) from None
    seen: list = []
    for loader in loaders:
        for dataset in innermost_datasets((cfg.get(loader) or {}).get('dataset')):
            kind = str(dataset.get('type')).rpartition('.')[2]
            source = _source(dataset)
            if kind not in CHECKS or '://' in str(source) or (kind, source) in seen:
                continue
            seen.append((kind, source))
            try:
                CHECKS[kind](dataset)
            except DataError as error:
                place = how_to_get(source[0], kind)
                raise DataError(
                    f'{loader}.dataset ({kind}): {error}.\nTo get it: {place}'
                ) from None


def _source(dataset: Mapping) -> tuple:
    keys = ('data_root', 'ann_file', 'data_prefix', 'split')
    return tuple(str(dataset.get(key) or '') for key in keys)


def _path(dataset: Mapping, key: str, default: str = '') -> str:
    """A path of the data set, below its root; ``data_prefix.img`` for nested keys."""
    value: Any = dataset
    for part in key.split('.'):
        value = value.get(part, default) if isinstance(value, Mapping) else value
    return os.path.join(dataset.get('data_root') or '', value or '')


def _incomplete(path, expected: str, found: str) -> DataError:
    return DataError(f'{path}: expected {expected}, found {found}')


def file_names(folder: str, suffix: str | tuple[str, ...]) -> set[str]:
    """Names of the files in a folder and the folders in it, relative to it."""
    names: set[str] = set()
    for base, _, files in os.walk(folder):
        inner = os.path.relpath(base, folder)
        prefix = '' if inner == '.' else f'{inner}/'.replace(os.sep, '/')
        names.update(f'{prefix}{n}' for n in files if n.lower().endswith(suffix))
    return names


def read_coco(path: str | os.PathLike) -> dict:
    """Parse a COCO annotation file.

    Raises:
        DataError: It is cut off, no JSON, or lacks a part.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise _incomplete(
            path, 'a JSON file', f'one that breaks off ({error})'
        ) from None
    if not isinstance(content, dict):
        raise _incomplete(path, 'COCO annotations', f'a {type(content).__name__}')
    lacking = {'images', 'annotations', 'categories'} - content.keys()
    if lacking:
        raise _incomplete(
            path, 'COCO annotations', f'no {", ".join(sorted(lacking))} in it'
        )
    return content


def _check_coco(dataset: Mapping) -> None:
    path = _path(dataset, 'ann_file')
    folder = _path(dataset, 'data_prefix.img')
    present = file_names(folder, IMAGE_SUFFIXES)
    if os.path.getsize(path) > PARSED_BYTES:
        expected = _search_coco(path)
        if len(present) < expected:
            raise _incomplete(
                folder, f'the {expected} images of {path}', f'{len(present)} images'
            )
        return
    names = {image['file_name'] for image in read_coco(path)['images']}
    if not names:
        raise _incomplete(path, 'annotations of images', 'an empty list of images')
    _all_there(folder, names, present, f'the {len(names)} images of {path}')


def _search_coco(path: str) -> int:
    """Number of images in a large annotation file, without parsing it."""
    count, rest, last = 0, b'', b''
    with open(path, 'rb') as file:
        while block := file.read(2**24):
            text = rest + block
            count += text.count(b'"file_name"')
            # What a block cuts in two is searched again with the next one.
            rest = text[-(len(b'"file_name"') - 1) :]
            last = block.rstrip()[-1:] or last
    if last != b'}':
        raise _incomplete(
            path, 'a whole JSON file', f'one that breaks off after {count} images'
        )
    return count


def _all_there(folder: str, names: set[str], present: set[str], expected: str) -> None:
    missing = sorted(names - present)
    if missing:
        raise _incomplete(
            folder,
            expected,
            f'{len(names) - len(missing)} of them; {len(missing)} missing, '
            f'such as {missing[0]}',
        )


def _check_segmentation(dataset: Mapping) -> None:
    images = _path(dataset, 'data_prefix.img_path')
    masks = _path(dataset, 'data_prefix.seg_map_path')
    image_suffix = dataset.get('img_suffix', '.jpg')
    mask_suffix = dataset.get('seg_map_suffix', '.png')
    stems = {n[: -len(image_suffix)] for n in file_names(images, image_suffix)}
    labelled = {n[: -len(mask_suffix)] for n in file_names(masks, mask_suffix)}
    if dataset.get('ann_file'):
        path = _path(dataset, 'ann_file')
        listed = set(Path(path).read_text().split())
        expected = f'the {len(listed)} samples of {path}'
    else:
        listed = stems | labelled
        expected = f'an image and a mask for each of {len(listed)} samples'
    if not listed:
        raise _incomplete(images, f'images that end in {image_suffix}', 'none')
    _all_there(
        images,
        {f'{n}{image_suffix}' for n in listed},
        {f'{n}{image_suffix}' for n in stems},
        expected,
    )
    if not dataset.get('test_mode'):
        _all_there(
            masks,
            {f'{n}{mask_suffix}' for n in listed},
            {f'{n}{mask_suffix}' for n in labelled},
            expected,
        )


def _check_imagenet(dataset: Mapping) -> None:
    split = dataset.get('split') or ''
    folder = _path(dataset, 'data_prefix' if dataset.get('data_prefix') else 'split')
    meta = (
        _path(dataset, 'ann_file')
        if dataset.get('ann_file')
        else os.path.join(dataset.get('data_root') or '', 'meta', f'{split}.txt')
    )
    if not os.path.isdir(folder):
        raise _incomplete(folder, f'the folder of the {split} images', 'nothing')
    if os.path.isfile(meta):
        lines = Path(meta).read_text().splitlines()
        names = [line.rsplit(maxsplit=1)[0] for line in lines if line.strip()]
        # A thousand of them tell a half-extracted archive from a whole one.
        for name in names[:: max(1, len(names) // 1000)]:
            if not os.path.isfile(os.path.join(folder, name)):
                raise _incomplete(
                    folder, f'the {len(names)} images of {meta}', f'no {name}'
                )
        return
    classes = sorted(e.path for e in os.scandir(folder) if e.is_dir())
    if len(classes) != 1000:
        raise _incomplete(folder, '1000 class folders', f'{len(classes)}')
    for path in classes:
        if not any(os.scandir(path)):
            raise _incomplete(path, 'images', 'an empty folder')


CHECKS: dict[str, Callable[[Mapping], None]] = {
    'ADE20KDataset': _check_segmentation,
    'BaseSegDataset': _check_segmentation,
    'CocoDataset': _check_coco,
    'ImageNet': _check_imagenet,
}

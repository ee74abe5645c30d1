"""Is the data there? A look at what a config names, before a model is built.

It is quick enough for the start of every run: files are listed and counted, none is
decoded. :mod:`mmgcp.datasets.verifying` looks into every file.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.fileio import list_from_file

from mmgcp.utils.config import innermost_datasets
from mmgcp.utils.errors import UserError, first_names

SPLITS = ('train', 'val', 'test')
LOADERS = tuple(f'{split}_dataloader' for split in SPLITS)
IMAGE_SUFFIXES = (
    *('.jpg', '.jpeg', '.png', '.bmp', '.webp'),
    *('.tif', '.tiff', '.ppm', '.pgm'),
)
#: Annotation files up to this size are parsed, larger ones are only searched.
PARSED_BYTES = 64 * 2**20
#: Label of pixels in a mask that count for nothing.
IGNORED = 255
#: The page that says where data are and how they are laid out: by name of a folder, by
#: type of the data set, by framework.
PAGES = {
    'photographs': 'docs/photographs.md',
    'imagenet-a': 'docs/analyses.md',
    'imagenet-r': 'docs/analyses.md',
    'imagenet-sketch': 'docs/analyses.md',
    'stylized-imagenet': 'docs/analyses.md',
    'CUB': 'docs/finetune.md',
    'FGVCAircraft': 'docs/finetune.md',
    'INaturalist': 'docs/finetune.md',
    'ImageNetP': 'docs/analyses.md',
    'StanfordCars': 'docs/finetune.md',
    'mmpretrain': 'docs/pretrain.md',
    'mmdet': 'docs/detection.md',
    'mmseg': 'docs/segmentation.md',
}


class DataError(UserError):
    """A data set is missing, incomplete or damaged."""


class _Fault(Exception):
    """A key of a data set's config, what is wrong with it, and perhaps the way out."""


def check_config(cfg: Mapping, loaders: tuple[str, ...] = LOADERS) -> None:
    """Check that the data sets of a config are complete on this machine.

    What a config names has to exist. Beyond that, a COCO annotation file has to be
    whole, its categories have to be the classes of the config, and every image in it
    has to be there. In segmentation every image needs its mask and every mask its
    image. Of ImageNet the files of its list or all class folders have to be there.
    Remote paths (``s3://``, ``http://`` ...) and other types are left to the framework.

    Raises:
        DataError: What was expected, what was found, and the way out.
    """
    seen: list[dict] = []
    for loader in loaders:
        for dataset in innermost_datasets((cfg.get(loader) or {}).get('dataset')):
            source = {key: dataset[key] for key in dataset if key != 'pipeline'}
            kind = _kind(dataset)
            if source in seen or '://' in str(source):
                continue
            seen.append(source)
            try:
                _check_paths(dataset)
                if kind in CHECKS:
                    CHECKS[kind](dataset)
            except _Fault as fault:
                key, text, *way_out = fault.args
                way_out = way_out or [_how_to_get(dataset, cfg.get('default_scope'))]
                raise DataError(
                    f'{loader}.dataset.{key} of {kind}: {text}.\n{way_out[0]}'
                ) from None


def file_names(folder: str | Path, suffix: str | tuple[str, ...] = '') -> set[str]:
    """Names of the files in a folder and the folders in it, relative to it.

    Links to folders are followed and hidden files left out, as the frameworks do.
    Capital letters of a name count as small ones.
    """
    names: set[str] = set()
    for base, _, files in os.walk(folder, followlinks=True):
        inner = os.path.relpath(base, folder)
        prefix = '' if inner == '.' else f'{inner}/'
        shown = (name for name in files if not name.startswith('.'))
        names.update(f'{prefix}{n}' for n in shown if n.lower().endswith(suffix))
    return names


def named_classes(dataset: Mapping) -> list[str]:
    """Classes that the config of a data set names, perhaps by a file of them."""
    metainfo = dataset.get('metainfo') or {}
    classes = metainfo.get('classes') or dataset.get('classes') or ()
    return list_from_file(classes) if isinstance(classes, str) else list(classes)


def read_coco(path: str | os.PathLike) -> dict:
    """Read a COCO file; DataError when it is cut off, no JSON, or lacks a part.

    The published lists of test images have no ``annotations``.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise DataError(f'{path}: breaks off or is no JSON file ({error})') from None
    needed = {
        'images': ('id', 'file_name', 'height', 'width'),
        'annotations': ('image_id', 'category_id'),
        'categories': ('id', 'name'),
    }
    content = content if isinstance(content, dict) else {}
    content.setdefault('annotations', [])
    for part, keys in needed.items():
        if part not in content:
            raise DataError(f'expected COCO annotations, found no {part} in {path}')
        for index, item in enumerate(content[part]):
            if not all(key in item for key in keys):
                raise DataError(f'{path}: {part}[{index}] needs {", ".join(keys)}')
    return content


def _kind(dataset: Mapping) -> str:
    return str(dataset.get('type')).rpartition('.')[2]


def _path(dataset: Mapping, key: str) -> str:
    """A path of the data set, below its root; ``data_prefix.img`` for nested keys."""
    value: Any = dataset
    for part in key.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else value
    if isinstance(value, Mapping):  # of a classification data set
        value = value.get('img_path')
    return os.path.join(dataset.get('data_root') or '', value or '')


def _check_paths(dataset: Mapping) -> None:
    prefix = dataset.get('data_prefix')
    keys = ['data_root', 'data_prefix']
    if isinstance(prefix, Mapping):
        keys = ['data_root', *(f'data_prefix.{key}' for key in prefix if prefix[key])]
    for key in keys:
        path = _path(dataset, '' if key == 'data_root' else key)
        if dataset.get(key.split('.')[0]) and not (
            os.path.isdir(path) and os.listdir(path)
        ):
            raise _Fault(key, f'expected a folder with files at {path}, found none')
    path = _path(dataset, 'ann_file')
    if dataset.get('ann_file') and not (os.path.isfile(path) and os.path.getsize(path)):
        text = f'expected a file at {path}, found none or an empty one'
        raise _Fault('ann_file', text)


def _how_to_get(dataset: Mapping, framework: str | None) -> str:
    root = Path(dataset.get('data_root') or '')
    for folder in (root, *root.parents):
        if 'scenes' in folder.name.lower():
            return f'To get it: python tools/make_scenes.py {folder}   (docs/scenes.md)'
    names = [*root.parts, _kind(dataset), str(framework)]
    pages = [PAGES[name] for name in names if name in PAGES]
    page = pages[0] if pages else 'the page that describes the data set'
    return f'To get it: {page}; or name its place with --cfg-options'


def _all_there(
    key: str, folder: str, names: set[str], present: set[str], what: str
) -> None:
    missing = sorted(names - present)
    if missing:
        found = f'found {len(names) - len(missing)} of them'
        example = f'{len(missing)} missing, such as {missing[0]}'
        raise _Fault(key, f'expected {what} in {folder}, {found}; {example}')


def _check_coco(dataset: Mapping) -> None:
    path, folder = _path(dataset, 'ann_file'), _path(dataset, 'data_prefix.img')
    present = file_names(folder, IMAGE_SUFFIXES)
    if os.path.getsize(path) > PARSED_BYTES:
        text = Path(path).read_bytes()
        number = text.count(b'"file_name"')
        if not text[-100:].rstrip().endswith(b'}'):
            raise _Fault('ann_file', f'{path} breaks off after {number} images')
        if len(present) < number:
            expected = f'expected the {number} images of {path} in {folder}'
            raise _Fault('data_prefix.img', f'{expected}, found {len(present)}')
        return
    try:
        content = read_coco(path)
    except DataError as error:
        raise _Fault('ann_file', str(error)) from None
    names = {image['file_name'] for image in content['images']}
    if not names:
        raise _Fault('ann_file', f'expected images, found none in {path}')
    what = f'the {len(names)} images of {path}'
    _all_there('data_prefix.img', folder, names, present, what)
    classes = named_classes(dataset)
    if not classes:
        from mmdet.datasets import CocoDataset

        classes = list(CocoDataset.METAINFO['classes'])
    found = [category['name'] for category in content['categories']]
    # The framework numbers the classes as they follow each other in the file.
    if [name for name in found if name in classes] != classes:
        raise _Fault(
            'metainfo.classes',
            f'expected the categories {first_names(classes)}, found '
            f'{first_names(found) or "none"} in {path}',
            'Give metainfo=dict(classes=(...)) the names of the file in its order, '
            'and num_classes of the model their number',
        )


def _check_segmentation(dataset: Mapping) -> None:
    suffixes = {
        'data_prefix.img_path': dataset.get('img_suffix', '.jpg'),
        'data_prefix.seg_map_path': dataset.get('seg_map_suffix', '.png'),
    }
    present = {
        key: {n for n in file_names(_path(dataset, key)) if n.endswith(suffix)}
        for key, suffix in suffixes.items()
    }
    if dataset.get('ann_file'):
        path = _path(dataset, 'ann_file')
        stems = set(Path(path).read_text(encoding='utf-8').split())
        what = f'the {len(stems)} samples of {path}'
    else:
        stems = {n.removesuffix(suffixes[key]) for key in present for n in present[key]}
        what = f'an image and a mask for each of {len(stems)} samples'
    for key, suffix in suffixes.items():
        folder = _path(dataset, key)
        if not stems:
            raise _Fault(key, f'expected files {suffix} in {folder}, found none')
        _all_there(key, folder, {f'{n}{suffix}' for n in stems}, present[key], what)


def _check_imagenet(dataset: Mapping) -> None:
    split = dataset.get('split') or ''
    key = 'data_prefix' if dataset.get('data_prefix') else 'split'
    folder, root = _path(dataset, key), dataset.get('data_root') or ''
    meta = _path(dataset, 'ann_file')
    if not dataset.get('ann_file'):
        meta = os.path.join(root, 'meta', f'{split}.txt')
    if not os.path.isdir(folder):
        raise _Fault(key, f'expected the {split} images in {folder}, found nothing')
    if os.path.isfile(meta):
        lines = Path(meta).read_text(encoding='utf-8').splitlines()
        names = [line.rsplit(maxsplit=1)[0] for line in lines if line.strip()]
        # A thousand of them tell a half-extracted archive from a whole one.
        for name in names[:: max(1, len(names) // 1000)]:
            if not os.path.isfile(os.path.join(folder, name)):
                text = f'expected the {len(names)} images of {meta} in {folder}'
                raise _Fault(key, f'{text}, found no {name}')
        return
    number = sum(entry.is_dir() for entry in os.scandir(folder))
    if number != 1000:
        text = f'expected 1000 class folders in {folder}, found {number}'
        raise _Fault(key, text)


def _check_class_folders(dataset: Mapping) -> None:
    classes = named_classes(dataset)
    # Ids of WordNet are names of folders; others may be names to be read.
    if dataset.get('ann_file') or not all(re.fullmatch(r'n\d{8}', c) for c in classes):
        return
    folder = _path(dataset, 'data_prefix' if dataset.get('data_prefix') else '')
    found = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if classes and found != classes:
        wrong = sorted(set(found) ^ set(classes))
        raise _Fault(
            'metainfo.classes',
            f'expected the {len(classes)} class folders of the config in {folder}, '
            f'found {len(found)}; they differ in {first_names(wrong) or "their order"}',
            'Name the place of the data set that the config is for with --cfg-options',
        )


def _check_fine_grained(dataset: Mapping) -> None:
    root, split = Path(dataset.get('data_root') or ''), dataset.get('split') or 'train'
    if (root / 'cars_annos.mat').exists():  # the other layout of Stanford Cars
        return
    labels = '_withlabels' if split == 'test' else ''
    needed = {
        'CUB': ['images.txt', 'image_class_labels.txt', 'train_test_split.txt'],
        'FGVCAircraft': ['data/images', f'data/images_variant_{split}.txt'],
        'StanfordCars': [f'cars_{split}', f'devkit/cars_{split}_annos{labels}.mat'],
    }
    missing = [n for n in needed[_kind(dataset)] if not (root / n).exists()]
    if missing:
        raise _Fault('data_root', f'expected {" and ".join(missing)} in {root}')


CHECKS: dict[str, Callable[[Mapping], None]] = {
    'ADE20KDataset': _check_segmentation,
    'BaseSegDataset': _check_segmentation,
    'CUB': _check_fine_grained,
    'CocoDataset': _check_coco,
    'CustomDataset': _check_class_folders,
    'FGVCAircraft': _check_fine_grained,
    'ImageNet': _check_imagenet,
    'StanfordCars': _check_fine_grained,
}

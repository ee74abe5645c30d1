"""Finding a missing data set before anything slow is built."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: The page that tells where data of a type is downloaded and how it is laid out.
PAGES = {
    'CocoDataset': 'docs/detection.md',
    'ADE20KDataset': 'docs/segmentation.md',
    'BaseSegDataset': 'docs/segmentation.md',
    'ImageNet': 'docs/pretrain.md',
    'CustomDataset': 'docs/pretrain.md',
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class MissingDataError(FileNotFoundError):
    """A file or folder that a config names is not there."""


def innermost_datasets(config: Any) -> Iterator[Mapping]:
    """Yield the innermost data-set configs of a (possibly wrapped) one."""
    if isinstance(config, Mapping) and config:
        inner = [config[key] for key in ('dataset', 'datasets') if config.get(key)]
        if not inner:
            yield config
        for item in inner:
            yield from innermost_datasets(item)
    elif isinstance(config, (list, tuple)):
        for item in config:
            yield from innermost_datasets(item)


def _join(root: str, path: str) -> str:
    return path if os.path.isabs(path) else os.path.join(root, path)


def _expected(dataset: Mapping) -> Iterator[tuple[str, str, bool]]:
    """Yield ``(what, path, is folder)`` for everything the config names."""
    root = dataset.get('data_root') or ''
    if root:
        yield 'data_root', root, True
    ann_file = dataset.get('ann_file')
    if isinstance(ann_file, str) and ann_file:
        yield 'ann_file', _join(root, ann_file), False
    prefix = dataset.get('data_prefix') or {}
    items = prefix.items() if isinstance(prefix, Mapping) else [('', prefix)]
    for key, value in items:
        if isinstance(value, str) and value:
            name = f'data_prefix.{key}' if key else 'data_prefix'
            yield name, _join(root, value), True


def how_to_get(path: str, kind: str = '') -> str:
    """Say how to get the data set of type ``kind`` that a path belongs to."""
    lower = path.lower()
    if 'scenes' in lower:
        parts = Path(path).parts
        last = max(i for i, part in enumerate(parts) if 'scenes' in part.lower())
        root = os.path.join(*parts[: last + 1])
        return f'python tools/make_scenes.py {root}   (docs/scenes.md)'
    page = PAGES.get(kind.rpartition('.')[2], 'the page that describes the data set')
    return f'{page}; or name its place with --cfg-options'


def _describe(path: str) -> str:
    here = Path(path)
    if here.exists():
        return 'an empty folder' if here.is_dir() else 'a file'
    parent = here
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        return f'{parent} is a file'
    content = sorted(os.listdir(parent))
    shown = ', '.join(content[:6]) + (' ...' if len(content) > 6 else '')
    return f'nothing; the nearest folder is {parent} with {shown or "nothing"} in it'


def check_data(cfg: Mapping, loaders: tuple[str, ...] = LOADERS) -> None:
    """Check that what the data sets of a config name is on this machine.

    Remote paths (``s3://``, ``http://`` ...) are left to the framework.

    Args:
        cfg: a config of mmengine.
        loaders: the keys whose data sets are needed.

    Raises:
        MissingDataError: the first missing or empty path, with its key, what was
            found there and how to get the data.
    """
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset')
        for config in innermost_datasets(dataset):
            for what, path, folder in _expected(config):
                if '://' in path:
                    continue
                here = Path(path)
                if folder and here.is_dir() and any(here.iterdir()):
                    continue
                if not folder and here.is_file() and here.stat().st_size:
                    continue
                raise MissingDataError(
                    f'{loader}.dataset.{what} of {config.get("type")}: '
                    f'expected {"a folder with files" if folder else "a file"} at '
                    f'{path}, found {_describe(path)}.\n'
                    f'To get it: {how_to_get(path, str(config.get("type")))}'
                )

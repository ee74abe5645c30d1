"""The framework configs behind a study's steps: merged values, derived files."""

import json
import os
import pprint
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmgcp.datasets.checking import LOADERS, DataError, check_config

from .step import StudyError


@cache
def _read(path: str) -> dict[str, Any]:
    return Config.fromfile(path).to_dict()


def find(path: str, root: Path) -> Path:
    """A file named in a study: below the working folder, else below ``root``.

    Raises:
        StudyError: It is in neither.
    """
    for candidate in (Path(path), root / path):
        if candidate.exists():
            return candidate
    raise StudyError(f'{path}: not found, neither here nor below {root}')


def shown(path: str | Path) -> str:
    """A path as a user in the working folder would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge like ``_base_`` does, ``_delete_`` included, into a new dictionary."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict):
            value = dict(value)
            replace = value.pop('_delete_', False)
            old = merged.get(key)
            if isinstance(old, dict) and not replace:
                value = merge(old, value)
        merged[key] = value
    return merged


def combine(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Put two sets of changes into one, the second on top, ``_delete_`` kept."""
    result = dict(first)
    for key, value in second.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = value if value.get('_delete_') else combine(old, value)
        result[key] = value
    return result


class Recipe:
    """A config with a study's changes on top.

    Args:
        config: File of the config.
        changes: Nested dictionary of what differs.
    """

    def __init__(self, config: Path, changes: dict[str, Any] | None = None) -> None:
        self.config = config
        self.changes: dict[str, Any] = _deletable(_read(str(config)), changes or {})
        self.values = merge(_read(str(config)), self.changes)

    def with_changes(self, changes: dict[str, Any]) -> 'Recipe':
        return Recipe(self.config, combine(self.changes, changes))

    @property
    def scope(self) -> str:
        """The framework: mmpretrain, mmdet or mmseg."""
        return self.values.get('default_scope', 'mmengine')

    def text(self, folder: Path) -> str:
        """Source of a config file in ``folder`` that is this recipe."""
        base = os.path.relpath(self.config.resolve(), folder.resolve())
        lines = [f'_base_ = [{base!r}]']
        for key, value in self.changes.items():
            body = pprint.pformat(value, width=80, sort_dicts=False)
            lines.append(f'{key} = {body}')
        return '\n'.join(lines) + '\n'

    def schedule(self) -> tuple[bool, int]:
        """Whether training counts epochs, and how many epochs or iterations.

        Raises:
            StudyError: The config does not train.
        """
        train = self.values.get('train_cfg') or {}
        if train.get('max_epochs'):
            return True, int(train['max_epochs'])
        if train.get('max_iters'):
            return False, int(train['max_iters'])
        raise StudyError(f'{self.config}: train_cfg has no max_epochs or max_iters')

    def last_checkpoint(self) -> str:
        """Name of the checkpoint that training ends with."""
        by_epoch, length = self.schedule()
        hook = (self.values.get('default_hooks') or {}).get('checkpoint') or {}
        if hook.get('by_epoch', True) != by_epoch:
            raise StudyError(
                f'{self.config}: default_hooks.checkpoint.by_epoch does not fit '
                'train_cfg, so the name of the last checkpoint is not known'
            )
        return f'epoch_{length}.pth' if by_epoch else f'iter_{length}.pth'

    def batch_size(self) -> int:
        """Images per process and training step."""
        return int(self.values['train_dataloader']['batch_size'])

    def missing_data(self, checked: set[str]) -> list[str]:
        """What keeps the config's data sets from being complete, each thing once.

        Args:
            checked: Data sets that were looked at before, as JSON; gets these too.
                Encoders and seeds share them, and COCO takes a while to look at.
        """
        missing: list[str] = []
        for loader in LOADERS:
            dataset = (self.values.get(loader) or {}).get('dataset')
            key = json.dumps(dataset, sort_keys=True, default=str)
            if key in checked:
                continue
            checked.add(key)
            try:
                check_config(self.values, (loader,))
            except DataError as error:
                # Without the loader's name three splits say the same.
                text = str(error).partition('.dataset')[2].lstrip('. ')
                text = text.replace('\n', ' ')
                if text not in missing:
                    missing.append(text)
        return missing


def _deletable(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Drop ``_delete_`` where the base has nothing to delete: mmengine would keep
    it as an argument of the module."""
    result = {}
    for key, value in changes.items():
        if isinstance(value, dict):
            old = base.get(key)
            inner = _deletable(old if isinstance(old, dict) else {}, value)
            if key not in base:
                inner.pop('_delete_', None)
            elif old is None:
                # mmengine refuses to merge a dictionary into None.
                inner['_delete_'] = True
            value = inner
        result[key] = value
    return result

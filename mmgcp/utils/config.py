"""Reading configs, with whatever is wrong said in one sentence, and changing them."""

import contextlib
import importlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from .errors import UserError

SUFFIXES = ('.py', '.json', '.yaml', '.yml')
FRAMEWORKS = ('mmpretrain', 'mmdet', 'mmseg')


class ConfigError(UserError):
    """A config cannot be read, or lacks what the command needs."""


def load_config(
    path: str | os.PathLike[str], options: dict[str, Any] | None = None
) -> Config:
    """Read a config, change it, and enter its scope; ConfigError says what fails."""
    path = Path(path)
    if not path.exists():
        raise ConfigError(
            f'{path}: no such config. Those of the project are in configs/'
        )
    if path.is_dir():
        raise ConfigError(f'{path} is a folder; give one of the configs in it')
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f'{path}: a config ends in {", ".join(SUFFIXES)}, not in '
            f'{path.suffix or "nothing"!r}. Is this the checkpoint?'
        )
    if not MMLogger.check_instance_created('mmengine'):
        # Only warnings, until a Runner makes a logger of its own.
        MMLogger.get_instance('mmengine', log_level='WARNING')
    try:
        config = Config.fromfile(path)
    except Exception as error:
        raise ConfigError(
            f'{path} cannot be read as a config: {type(error).__name__}: {error}'
        ) from error
    if options:
        try:
            config.merge_from_dict(options)
        except (KeyError, TypeError, AssertionError) as error:
            shown = ' '.join(f'{key}={value}' for key, value in options.items())
            raise ConfigError(
                f'{path}: --cfg-options {shown} does not fit: {error}'
            ) from error
    scope = config.get('default_scope')
    if scope is not None:
        enter_scope(scope)
    return config


def enter_scope(scope: str) -> None:
    """Make a framework the one that types without a scope belong to."""
    current = DefaultScope.get_current_instance()
    if current is None or current.scope_name != scope:
        # mmengine's init_default_scope warns of a change, which is meant here
        DefaultScope.get_instance(f'{scope}-{time.monotonic_ns()}', scope_name=scope)


def import_datasets(framework: str) -> None:
    """Import the data sets of a framework without what it prints about others."""
    with contextlib.redirect_stdout(io.StringIO()):
        importlib.import_module(f'{framework}.datasets')


def framework_of(config: Config) -> str:
    """The framework in ``default_scope``; ConfigError when it is none of the three."""
    scope = config.get('default_scope')
    if scope not in FRAMEWORKS:
        raise ConfigError(
            f'{config.filename}: default_scope={scope!r}; set it to one of '
            f'{", ".join(FRAMEWORKS)}'
        )
    return scope


def required(config: Config, key: str) -> Any:
    """A value of a config by its dotted key; ConfigError when there is none."""
    value: Any = config
    for part in key.split('.'):
        value = value.get(part) if hasattr(value, 'get') else None
        if value is None:
            raise ConfigError(
                f'{config.filename}: the key {key!r} is missing. Give a whole config, '
                'not one of configs/_base_'
            )
    return value


def innermost_datasets(dataset: Any) -> Iterator[Any]:
    """The configs of the data sets inside wrappers (repeated, concatenated ...)."""
    if isinstance(dataset, list | tuple):
        for item in dataset:
            yield from innermost_datasets(item)
    elif dataset:
        inner = dataset.get('dataset') or dataset.get('datasets')
        yield from innermost_datasets(inner) if inner else [dataset]


def innermost_dataset(dataset: Any) -> Any:
    """The first of :func:`innermost_datasets`, an empty config if there is none."""
    return next(innermost_datasets(dataset), {})


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge like ``_base_`` does, ``_delete_`` included, into a new dictionary."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict):
            old = merged.get(key)
            kept = not value.get('_delete_')
            inner = {k: v for k, v in value.items() if k != '_delete_'}
            value = merge(old if isinstance(old, dict) and kept else {}, inner)
        merged[key] = value
    return merged


def difference(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """What a config that inherits ``base`` has to say to become ``values``."""
    changes = {}
    for key, value in values.items():
        old = base.get(key)
        if key in base and old == value:
            continue
        if isinstance(value, dict) and key in base:
            if isinstance(old, dict) and old.keys() <= value.keys():
                value = difference(old, value)
            else:
                value = {'_delete_': True, **value}
        changes[key] = value
    return changes

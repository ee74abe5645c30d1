"""Override files: a few keys that go with every config of a kind."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .errors import UserError


class OverrideError(UserError):
    """There is no such override file."""


def override_options(names: Iterable[str], folder: str | os.PathLike) -> dict[str, Any]:
    """Read override files as options of the form ``{'model.backbone.depth': 18}``.

    mmengine does not let two bases of a config set the same key, so that these files
    cannot stand in ``_base_`` beside a config; merged after it, they can.

    Args:
        names: Paths, or names of files in ``folder`` without their ending.
        folder: Where names are looked up.

    Raises:
        OverrideError: A file does not exist; those in the folder are named.
    """
    options: dict[str, Any] = {}
    for name in names:
        path = Path(name) if name.endswith('.py') else Path(folder, f'{name}.py')
        if not path.is_file():
            known = ', '.join(sorted(file.stem for file in Path(folder).glob('*.py')))
            raise OverrideError(
                f'--override {name}: there is no {path}. In {folder} are: {known}'
            )
        options.update(_flat(Config.fromfile(path).to_dict()))
    return options


def _flat(node: Mapping, prefix: str = '') -> dict[str, Any]:
    leaves = {}
    for key, value in node.items():
        path = f'{prefix}{key}'
        if isinstance(value, Mapping) and value:
            leaves.update(_flat(value, f'{path}.'))
        else:
            leaves[path] = value
    return leaves

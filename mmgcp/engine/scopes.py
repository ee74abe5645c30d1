"""Types that are written without their scope, told before a registry fails."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmgcp.registry import MODELS, WEIGHT_INITIALIZERS
from mmgcp.utils.errors import UserError


class UnscopedTypeError(UserError):
    """A type of this package is written without its scope."""


#: In these arguments the scope is implied.
UNSCOPED_KEYS = ('dropout', 'normalization')


def check_types(cfg: Mapping) -> None:
    """Find types of this package that are written without their scope.

    Args:
        cfg: A config with ``model`` and ``default_scope``.

    Raises:
        UnscopedTypeError: The key, and the type as it has to be written.
    """
    MODELS.import_from_location()
    WEIGHT_INITIALIZERS.import_from_location()
    ours = {*MODELS.module_dict, *WEIGHT_INITIALIZERS.module_dict}
    for key, name in _types(cfg.get('model') or {}, 'model'):
        if name in ours and not _known_elsewhere(name, cfg.get('default_scope')):
            raise UnscopedTypeError(
                f"{key}.type='{name}' is a module of mmgcp: write type='mmgcp.{name}'"
            )


def _types(node: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), str):
            yield key, node['type']
        for name, value in node.items():
            if name not in UNSCOPED_KEYS:
                yield from _types(value, f'{key}.{name}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _types(value, f'{key}[{i}]')


def _known_elsewhere(name: str, scope: str | None) -> bool:
    with MODELS.switch_scope_and_registry(scope) as registry:
        return registry is not MODELS and registry.get(name) is not None

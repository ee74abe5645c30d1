"""Which OpenMMLab stack is installed.

Two families of distributions provide the same modules: the maintained OneDL one
(``onedl-mmdetection`` ...) and the original one (``mmdet`` ...). Neither declares a
conflict, so installing both silently mixes their files.
"""

import importlib.metadata
import warnings
from dataclasses import dataclass
from functools import lru_cache

MODULES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')


@dataclass(frozen=True)
class Provider:
    """A distribution such as ``onedl-mmdetection`` that provides a module."""

    module: str
    distribution: str
    version: str

    @property
    def family(self) -> str:
        return 'onedl' if self.distribution.startswith('onedl-') else 'openmmlab'


@lru_cache(maxsize=1)
def providers() -> tuple[Provider, ...]:
    """Every distribution that provides one of the OpenMMLab modules."""
    by_module = importlib.metadata.packages_distributions()
    return tuple(
        Provider(module, name, importlib.metadata.version(name))
        for module in MODULES
        for name in sorted(set(by_module.get(module, [])))
    )


def check_stack() -> None:
    """Warn when both families are installed over each other."""
    if len({provider.family for provider in providers()}) > 1:
        names = ', '.join(f'{p.distribution} ({p.module})' for p in providers())
        warnings.warn(
            f'Two OpenMMLab stacks are installed over each other: {names}. Uninstall all '
            'of them and install one: mmgcp[onedl] or mmgcp[openmmlab].',
            stacklevel=2,
        )

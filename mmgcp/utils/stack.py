"""Which OpenMMLab stack is installed, and whether it can work.

Two families of distributions provide the same modules: the maintained OneDL one
(``onedl-mmdetection`` ...) and the original one (``mmdet`` ...). Neither declares a
conflict, so installing both silently mixes their files.
"""

import importlib.metadata
import warnings
from dataclasses import dataclass
from functools import lru_cache

from packaging.version import Version

MODULES = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
#: Oldest version that works, first version that nobody has tried.
SUPPORTED = {
    'mmengine': ('0.8.0', '1.0'),
    'mmcv': ('2.0.0', '3.0'),
    'mmdet': ('3.0.0', '4.0'),
    'mmseg': ('1.0.0', '2.0'),
    'mmpretrain': ('1.0.0', '2.0'),
}


class StackError(ImportError):
    """The installed OpenMMLab distributions cannot work together with mmgcp."""


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
    """Check versions and mixing.

    Raises:
        StackError: A module is older than the oldest that works.

    Warns:
        UserWarning: Both families are installed, or a version is newer than any tried.
    """
    families = {provider.family for provider in providers()}
    if len(families) > 1:
        names = ', '.join(f'{p.distribution} ({p.module})' for p in providers())
        warnings.warn(
            f'Two OpenMMLab stacks are installed over each other: {names}. Uninstall all '
            'of them and install one: mmgcp[onedl] or mmgcp[openmmlab].',
            stacklevel=2,
        )
    for provider in providers():
        oldest, untried = SUPPORTED[provider.module]
        if Version(provider.version) < Version(oldest):
            raise StackError(
                f'{provider.distribution} {provider.version} is too old: mmgcp needs '
                f'{provider.module} >= {oldest}.'
            )
        if Version(provider.version) >= Version(untried):
            warnings.warn(
                f'{provider.distribution} {provider.version} was never tried with this '
                f'mmgcp (< {untried}).',
                stacklevel=2,
            )

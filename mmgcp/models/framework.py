"""Modules that inherit from a class of the framework in use.

mmdet, mmseg and mmpretrain each have a ``ResNet``: same state-dict keys, different
arguments (``dcn`` and ``plugins``, ``multi_grid``, ``drop_path_rate``). A module here
picks the class when it is built. All arguments of that framework then work, and the
other two need not be installed.
"""

from functools import cache
from importlib import import_module
from typing import Any, ClassVar

from mmengine.model import BaseModule
from mmengine.registry import DefaultScope

from mmgcp.utils.config import FRAMEWORKS
from mmgcp.utils.errors import ConfigValueError


class FrameworkModule(BaseModule):
    """Base of the modules that inherit from the framework in use.

    An instance belongs to a class of the same name, made at run time, which inherits
    from its class and then from the framework's. A user can subclass, copy and pickle
    it like any other module.

    Raises:
        ConfigValueError: Neither the argument ``framework`` nor the default scope
            names a framework.
        ModuleNotFoundError: The framework is not installed.
    """

    #: Name of the class in the framework's ``models`` package.
    framework_base: ClassVar[str]
    #: Set where only one framework has that class.
    only_framework: ClassVar[str | None] = None
    framework: ClassVar[str | None] = None

    def __new__(cls, *args: Any, framework: str | None = None, **kwargs: Any):
        if cls.framework is None:
            name = cls.only_framework or _framework(cls.__name__, framework)
            # mypy looks at the __hash__ of the instances.
            cls = _subclass(cls, name)  # type: ignore[arg-type]
        return super().__new__(cls)

    def train(self, mode: bool = True) -> 'FrameworkModule':
        # The frameworks' own train() returns None, and so would net.eval().
        super().train(mode)
        return self

    def __reduce__(self):
        # pickle looks for classes by name and cannot find one made at run time.
        return _empty, (self._declared, self.framework), self.__dict__


def _framework(module: str, given: str | None) -> str:
    """The given framework, by default that of the current default scope."""
    scope = DefaultScope.get_current_instance()
    current = scope.scope_name if scope else None
    name = given or current
    if name in FRAMEWORKS:
        return name
    found = f'framework={given!r}' if given else f'default_scope={current!r}'
    raise ConfigValueError(
        f'mmgcp.{module} inherits from the framework in use, but {found}. Set '
        'default_scope in the config (in a script: '
        'mmengine.registry.init_default_scope), or framework= of the module, to one '
        f"of {', '.join(map(repr, FRAMEWORKS))}. Types that start with 'mmgcp.' are "
        'found from each of them'
    )


@cache
def _subclass(cls: type[FrameworkModule], framework: str) -> type[FrameworkModule]:
    try:
        models = import_module(f'{framework}.models')
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'mmgcp.{cls.__name__} needs {framework}, which cannot be imported: '
            f'{error}. Install it, or build the module in another framework'
        ) from error
    namespace = dict(framework=framework, _declared=cls, __doc__=cls.__doc__)
    namespace |= dict(__module__=cls.__module__, __qualname__=cls.__qualname__)
    bases = (cls, getattr(models, cls.framework_base))
    metaclass: type = type(cls)
    return metaclass(cls.__name__, bases, namespace)


def _empty(cls: type[FrameworkModule], framework: str) -> FrameworkModule:
    return cls.__new__(cls, framework=framework)

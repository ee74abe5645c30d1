"""Modules that become a subclass of the framework in use.

mmdet, mmseg and mmpretrain each have a ``ResNet`` of their own: same state-dict
keys, different arguments (``dcn`` and ``plugins``, ``multi_grid``,
``drop_path_rate``). A module here picks the one of the running framework when it
is built, so that every argument of that framework works and no framework has to
be installed for the sake of another.
"""

from functools import cache
from importlib import import_module
from operator import index
from typing import Any, ClassVar, SupportsIndex

from mmengine.model import BaseModule
from mmengine.registry import DefaultScope

from .checks import check_wiring_around

FRAMEWORKS = ('mmdet', 'mmseg', 'mmpretrain')


def current_framework(wanted_by: str, framework: str | None = None) -> str:
    """Name the framework a module is being built for.

    Args:
        wanted_by (str): Name of the module, for the error message.
        framework (str, optional): ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``.
            Defaults to None, the current default scope.

    Returns:
        str: One of :data:`FRAMEWORKS`.

    Raises:
        ValueError: If neither the argument nor the default scope names one.
    """
    if framework is not None:
        if framework not in FRAMEWORKS:
            raise ValueError(
                f'mmgcp.{wanted_by}: framework={framework!r} is unknown, use one '
                f'of {", ".join(FRAMEWORKS)}'
            )
        return framework
    scope = DefaultScope.get_current_instance()
    name = None if scope is None else scope.scope_name
    if name in FRAMEWORKS:
        return name
    if name == 'mmgcp':
        raise ValueError(
            f"mmgcp.{wanted_by}: default_scope='mmgcp' hides the detectors, "
            'segmentors and data sets of the frameworks. Leave default_scope at '
            "'mmdet', 'mmseg' or 'mmpretrain'; types that start with 'mmgcp.' are "
            'found from there'
        )
    found = 'no default scope is set' if name is None else f'default_scope={name!r}'
    raise ValueError(
        f'mmgcp.{wanted_by} is built on the class of the framework in use, but '
        f"{found}. Set default_scope to 'mmdet', 'mmseg' or 'mmpretrain' in the "
        'config (in a script: mmengine.registry.init_default_scope), or pass '
        "framework='mmdet', 'mmseg' or 'mmpretrain' to the module"
    )


def framework_class(name: str, framework: str, wanted_by: str) -> type:
    """Import a class of a framework's ``models`` package.

    Args:
        name (str): Its module in there and its name, such as ``backbones.ResNet``.
        framework (str): One of :data:`FRAMEWORKS`.
        wanted_by (str): Name of the module, for the error message.

    Raises:
        ImportError: If the framework is not installed, or has no such class.
    """
    module, _, name = f'{framework}.models.{name}'.rpartition('.')
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f'mmgcp.{wanted_by} needs {module}.{name}, which cannot be imported: '
            f'{error}. Install {framework}, or build the module in a framework '
            'that is installed'
        ) from error


def loads_checkpoint(init_cfg: Any) -> bool:
    """Whether an ``init_cfg`` loads weights from a file."""
    configs = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]
    names = [str(config['type']) for config in configs if config]
    return any(name.split('.')[-1].startswith('Pretrained') for name in names)


class FrameworkModule(BaseModule):
    """Base of the modules that inherit from the framework in use.

    Instantiating a subclass gives an object of a class with the same name that
    inherits from the subclass and, behind it, from the framework's class
    ``framework_base``. It can be subclassed, copied and pickled like any other
    module. ``only_framework`` is set where only one framework has such a class.
    """

    framework_base: ClassVar[str]
    only_framework: ClassVar[str | None] = None
    framework: ClassVar[str | None] = None

    def __new__(cls, *args: Any, framework: str | None = None, **kwargs: Any):
        if cls.framework is None:
            framework = cls.only_framework or framework
            framework = current_framework(cls.__name__, framework)
            # mypy looks at the __hash__ of the instances.
            cls = _resolve(cls, framework)  # type: ignore[arg-type]
        return super().__new__(cls)

    def init_weights(self) -> None:
        """Initialise or load the weights, once it fits the model around it."""
        check_wiring_around(self)
        super().init_weights()

    def train(self, mode: bool = True) -> 'FrameworkModule':
        # The frameworks' own train() returns nothing, so that net.eval() is None.
        super().train(mode)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex):
        # The resolved class is made at run time, so that pickle cannot find it
        # by its name: rebuild it from the two things it was made from.
        state = super().__reduce_ex__(max(index(protocol), 2))[2:]
        return (_rebuild, (self._declared, self.framework), *state)


@cache
def _resolve(cls: type[FrameworkModule], framework: str) -> type[FrameworkModule]:
    base = framework_class(cls.framework_base, framework, cls.__name__)
    namespace = {
        '__module__': cls.__module__,
        '__qualname__': cls.__qualname__,
        '__doc__': cls.__doc__,
        'framework': framework,
        '_declared': cls,
    }
    metaclass: type = type(cls)
    return metaclass(cls.__name__, (cls, base), namespace)


def _rebuild(cls: type, framework: str) -> FrameworkModule:
    resolved = _resolve(cls, framework)
    return resolved.__new__(resolved)

"""Registry nodes of the ``mmgcp`` scope.

They are children of mmengine's root registries. The first look-up of a type
such as ``mmgcp.GCPResNet`` from any framework imports this module, and
``locations`` import the modules that register themselves.
"""

from mmengine import registry as mmengine
from mmengine.registry import DefaultScope, Registry


class Node(Registry):
    """A registry that explains what ``default_scope='mmgcp'`` breaks."""

    def get(self, key: str) -> type | None:
        found = super().get(key)
        scope = DefaultScope.get_current_instance()
        if found is None and scope is not None and scope.scope_name == 'mmgcp':
            raise KeyError(
                f"{key!r} is not in mmgcp. default_scope='mmgcp' hides what the "
                "frameworks register: set it to 'mmdet', 'mmseg' or 'mmpretrain', "
                "and write types of this package as 'mmgcp.NAME'"
            )
        return found


def _node(name: str, parent: Registry, *locations: str) -> Registry:
    return Node(name, parent=parent, scope='mmgcp', locations=list(locations))


MODELS = _node('model', mmengine.MODELS, 'mmgcp.models')
WEIGHT_INITIALIZERS = _node(
    'weight initializer', mmengine.WEIGHT_INITIALIZERS, 'mmgcp.weights'
)
DATASETS = _node('dataset', mmengine.DATASETS, 'mmgcp.datasets')
TRANSFORMS = _node('transform', mmengine.TRANSFORMS, 'mmgcp.datasets')
METRICS = _node('metric', mmengine.METRICS, 'mmgcp.engine')
HOOKS = _node('hook', mmengine.HOOKS, 'mmgcp.engine')
PARAM_SCHEDULERS = _node(
    'parameter scheduler', mmengine.PARAM_SCHEDULERS, 'mmgcp.engine'
)
OPTIM_WRAPPER_CONSTRUCTORS = _node(
    'optimizer wrapper constructor',
    mmengine.OPTIM_WRAPPER_CONSTRUCTORS,
    'mmgcp.engine',
)
# A runner builds its visualizer first, so this one explains default_scope='mmgcp'.
VISUALIZERS = _node('visualizer', mmengine.VISUALIZERS)

"""The weight initializer that leaves layers as torch makes them."""

from typing import Any

from mmengine.model.weight_init import update_init_info

from mmgcp.registry import WEIGHT_INITIALIZERS


@WEIGHT_INITIALIZERS.register_module()
class TorchDefault:
    """Initialize every layer as torch's constructors do.

    The published classifiers start like that, and the whole of ShuffleNetV2.
    mmpretrain's own initialization of both differs by factors of up to three.
    """

    def __call__(self, module: Any) -> None:
        for layer in module.modules():
            if hasattr(layer, 'reset_parameters'):
                layer.reset_parameters()
            # no initialization of its own afterwards, such as that of ConvModule
            if hasattr(layer, 'init_weights'):
                layer.is_init = True
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info='TorchDefault')

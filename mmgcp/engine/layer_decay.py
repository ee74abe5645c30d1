"""Layer-wise decay of the learning rate, for every encoder in every framework."""

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor

from mmgcp.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmgcp.utils.errors import UserError
from mmgcp.utils.layer_depth import layer_depths

PREFIX = 'backbone.'


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with smaller rates for earlier layers of the encoder.

    As in `BEiT <https://arxiv.org/abs/2106.08254>`_ a parameter of layer ``d`` of
    ``n`` learns at the rate times ``layer_decay_rate ** (n + 1 - d)``: ``d`` is 0 for
    stem and embeddings, and ``n + 1`` for the last norm, neck and heads, which learn
    at the full rate. It goes with encoders that know their layers: all of this package
    (``layer_names``) and those of mmpretrain with ``get_layer_depth``. All keys of
    ``paramwise_cfg`` keep their meaning::

        optim_wrapper = dict(
            constructor='mmgcp.LayerDecayConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.7, norm_decay_mult=0.0),
        )

    Raises:
        UserError: ``layer_decay_rate`` is missing or not in (0, 1], or the encoder
            does not know its layers.
    """

    def add_params(
        self, params: list[dict], module: Any, prefix: str = '', **kwargs: Any
    ) -> None:
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:  # inside the recursion
            return
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        rate = self.paramwise_cfg.get('layer_decay_rate', 0)
        if not 0 < rate <= 1:
            raise UserError(
                f'optim_wrapper.paramwise_cfg.layer_decay_rate={rate!r} has to be above '
                '0 and at most 1'
            )
        exponents = self._exponents(module)
        for group in params:
            (parameter,) = group['params']
            scale = rate ** exponents.get(names[id(parameter)], 0)
            group['lr'] = group.get('lr', self.base_lr) * scale

    def _exponents(self, model: Any) -> dict[str, int]:
        """How many layers lie between each parameter of the encoder and the head."""
        backbone: Any = model.backbone
        names = [name for name, _ in backbone.named_parameters()]
        if hasattr(backbone, 'layer_names'):
            last = len(backbone.layer_names) + 1
            depths = layer_depths(names, backbone.layer_names)
            return {PREFIX + name: last - depths[name] for name in names}
        if hasattr(backbone, 'get_layer_depth'):
            found = {n: backbone.get_layer_depth(PREFIX + n, PREFIX) for n in names}
            return {PREFIX + n: total - d - 1 for n, (d, total) in found.items()}
        raise UserError(
            f'optim_wrapper.constructor: {type(backbone).__name__} has neither '
            'layer_names nor get_layer_depth. Leave the constructor out, or use '
            "custom_keys={'backbone': dict(lr_mult=0.1)}"
        )

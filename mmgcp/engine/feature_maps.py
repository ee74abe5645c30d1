"""Recording the feature maps of a model by name: stages and pyramid levels."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def recorded_feature_maps(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the feature maps of every forward pass in the block.

    Stages are ``stage1`` ...; the maps of a neck are ``pyramid1`` (the finest) ...; a
    backbone that lists no stages gives ``backbone`` or ``backbone1`` ....

    Yields:
        Maps ``(B, C, H, W)`` or tokens ``(B, L, C)`` with their graph, filled anew by
        each forward pass.
    """
    features: dict[str, Tensor] = {}

    def recorder(name: str):
        def record(_module, _inputs, output) -> None:
            levels = output if isinstance(output, tuple | list) else [output]
            maps = [v for v in levels if isinstance(v, Tensor) and v.dim() in (3, 4)]
            for index, level in enumerate(maps):
                numbered = len(maps) > 1 or name == 'pyramid'
                features[f'{name}{index + 1}' if numbered else name] = level

        return record

    backbone: Any = model.backbone
    names = getattr(backbone, 'res_layers', ())
    modules = {f'stage{i}': getattr(backbone, name) for i, name in enumerate(names, 1)}
    modules = modules or {'backbone': backbone}
    neck = getattr(model, 'neck', None)
    if isinstance(neck, nn.Module):
        modules['pyramid'] = neck
    handles = [
        module.register_forward_hook(recorder(name)) for name, module in modules.items()
    ]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()

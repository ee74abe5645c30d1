"""Feature maps of a model by name: stages, pyramid levels, pooling head."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn


def stage_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Stages of the backbone: those it lists, or the backbone as a whole."""
    backbone = cast(nn.Module, model.backbone)
    names = getattr(backbone, 'res_layers', None)
    if names:
        return {f'stage{i + 1}': getattr(backbone, n) for i, n in enumerate(names)}
    return {'backbone': backbone}


@contextmanager
def tapped(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record feature maps ``(B, C, H, W)`` of every forward pass in the block.

    Stages are ``stage1`` ...; maps that a dense neck puts out are ``pyramid1``
    (the finest) ...; a backbone that lists no stages gives ``backbone`` or
    ``backbone1`` ....

    Yields:
        dict: Filled anew by each forward pass.
    """
    features: dict[str, Tensor] = {}

    def recorder(name: str):
        def record(_module, _inputs, output) -> None:
            levels = output if isinstance(output, (tuple, list)) else [output]
            maps = [v for v in levels if isinstance(v, Tensor) and v.dim() in (3, 4)]
            for index, level in enumerate(maps):
                numbered = len(maps) > 1 or name == 'pyramid'
                features[f'{name}{index + 1}' if numbered else name] = level.detach()

        return record

    handles = [
        module.register_forward_hook(recorder(name))
        for name, module in stage_modules(model).items()
    ]
    neck = getattr(model, 'neck', None)
    if isinstance(neck, nn.Module):
        handles.append(neck.register_forward_hook(recorder('pyramid')))
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def feature_maps(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Feature maps of one prepared batch ``(B, 3, H, W)``."""
    with tapped(model) as features:
        maps = model.backbone(inputs)
        neck = getattr(model, 'neck', None)
        if isinstance(neck, nn.Module):
            neck(maps)
    return dict(features)

"""What analyses do with a model: repeat its training loss, record its feature maps."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def prepare(model: nn.Module, batch: Any) -> dict:
    """Preprocess a raw batch as in training, without mixup and its like."""
    preprocessor = model.data_preprocessor
    augments = getattr(preprocessor, 'batch_augments', None)
    if augments is not None:
        preprocessor.batch_augments = None
    try:
        return preprocessor(copy.deepcopy(batch), training=True)
    finally:
        if augments is not None:
            preprocessor.batch_augments = augments


def model_loss(model: nn.Module, data: dict) -> Tensor:
    """Total training loss of one prepared batch, as the optimizer sees it."""
    # Detectors write into their samples, so every call gets its own.
    samples = copy.deepcopy(data['data_samples'])
    losses = model(data['inputs'], samples, mode='loss')
    return model.parse_losses(losses)[0]


@contextmanager
def fixed_proposals(model: nn.Module) -> Iterator[dict]:
    """Hold the proposals of a two-stage detector at their first value.

    Back-propagation takes proposals as constants although they follow from the weights.
    Inside this block the loss is the function whose gradient training computes. Set
    ``key`` of the dictionary before each forward pass; proposals are kept by it.
    """
    state: dict = {'key': None, 'store': {}}
    head = getattr(model, 'rpn_head', None)
    if head is None or not hasattr(head, 'loss_and_predict'):
        yield state
        return
    original = head.loss_and_predict

    def loss_and_predict(x, batch_data_samples, **kwargs):
        if state['key'] in state['store']:
            losses = head.loss(x, batch_data_samples)
        else:
            losses, proposals = original(x, batch_data_samples, **kwargs)
            state['store'][state['key']] = proposals
        return losses, copy.deepcopy(state['store'][state['key']])

    head.loss_and_predict = loss_and_predict
    try:
        yield state
    finally:
        del head.loss_and_predict


def stages_of(model: nn.Module) -> dict[str, nn.Module]:
    """``stage1`` ... of a backbone; one that lists no stages is one, ``backbone``."""
    backbone: Any = model.backbone
    names = getattr(backbone, 'res_layers', ())
    stages = {f'stage{i}': getattr(backbone, name) for i, name in enumerate(names, 1)}
    return stages or {'backbone': backbone}


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

    modules = stages_of(model)
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

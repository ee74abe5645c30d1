"""What each level of an encoder answers to a picture, and which parts decide.

The class-activation map is HiResCAM (https://arxiv.org/abs/2011.08891): the sum over
channels of gradient times activation, position by position. Grad-CAM, which
averages the gradient over the positions first, is blind behind covariance pooling:
the covariance is centred, so that the gradient on its input sums to zero over the
positions. Behind average pooling the two are the same up to a factor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mmgcp.utils.errors import UserError

from .predictor import Predictor
from .targets import Target, target_of


class FeatureMapError(UserError):
    """There are no feature maps to show, or no such level or channel."""


@dataclass
class LevelView:
    """One level of the pyramid for one picture.

    Attributes:
        name: ``stage1`` ... of the backbone, ``pyramid1`` ... of the neck.
        features: ``(C, H, W)``, the part that the picture covers.
        stride: Pixels of the model's input for one position.
        cam: ``(H, W)``, not negative, or None when not asked for.
    """

    name: str
    features: np.ndarray
    stride: float
    cam: np.ndarray | None = None

    @property
    def energy(self) -> np.ndarray:
        """Root mean square over the channels, ``(H, W)``."""
        return np.sqrt((self.features.astype(np.float64) ** 2).mean(0))

    @property
    def dead_channels(self) -> int:
        """Channels that are the same everywhere on this picture."""
        flat = self.features.reshape(self.features.shape[0], -1)
        return int((np.ptp(flat, axis=1) == 0).sum())

    def liveliest(self, count: int) -> list[int]:
        """Channels of the largest variance over the positions, descending."""
        variance = self.features.reshape(self.features.shape[0], -1).var(axis=1)
        return [int(i) for i in np.argsort(-variance, kind='stable')[:count]]


@contextmanager
def levels_of(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the levels ``(B, C, H, W)`` of each forward pass, with their graph."""
    found: dict[str, Tensor] = {}

    def record(name: str):
        def hook(_module, _inputs, output):
            maps = output if isinstance(output, tuple | list) else [output]
            maps = [m for m in maps if isinstance(m, Tensor) and m.dim() == 4]
            for index, level in enumerate(maps):
                found[name if len(maps) == 1 else f'{name}{index + 1}'] = level

        return hook

    backbone, neck = model.backbone, getattr(model, 'neck', None)
    stages = getattr(backbone, 'res_layers', None)
    taps = (
        [(f'stage{i + 1}', getattr(backbone, name)) for i, name in enumerate(stages)]
        if stages
        else [('stage', backbone)]
    )
    if isinstance(neck, nn.Module):
        taps.append(('pyramid', neck))
    handles = [module.register_forward_hook(record(name)) for name, module in taps]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def view_levels(
    predictor: Predictor,
    image: np.ndarray,
    cam: bool = True,
    target: str | None = None,
) -> tuple[list[LevelView], Target | None]:
    """Pass a picture through a model and look at its levels.

    Args:
        predictor: The model.
        image: ``(H, W, 3)`` uint8 RGB.
        cam: Compute class-activation maps too.
        target: Class they are for; by default the most certain one predicted.

    Returns:
        The levels from fine to coarse, and what the maps are for.

    Raises:
        FeatureMapError: The model gives no maps.
        UserError: The class is unknown, or there is no score to follow back.
    """
    model = predictor.model
    batch = predictor.prepare(image)
    if predictor.scope == 'mmpretrain':
        batch = {**batch, 'inputs': torch.stack(batch['inputs'])}
    data = model.data_preprocessor(batch, False)
    inputs = data['inputs']
    goal = None
    with torch.set_grad_enabled(cam), levels_of(model) as found:
        inputs = inputs.detach().requires_grad_(cam)
        if cam:
            goal = target_of(predictor, inputs, data['data_samples'], target)
        else:
            model.extract_feat(inputs)
        levels = dict(found)
    if not levels:
        raise FeatureMapError(
            f'{type(model.backbone).__name__} gives no (B, C, H, W) maps to show'
        )
    gradients: dict[str, Tensor | None] = dict.fromkeys(levels)
    if goal is not None:
        values = torch.autograd.grad(
            goal.score, list(levels.values()), allow_unused=True
        )
        gradients = dict(zip(levels, values, strict=True))
    height, width = _covered(data['data_samples'][0], inputs)
    views = []
    for name, level in levels.items():
        stride = inputs.shape[-1] / level.shape[-1]
        rows = max(1, round(height / (inputs.shape[-2] / level.shape[-2])))
        columns = max(1, round(width / stride))
        part = np.s_[..., :rows, :columns]
        gradient = gradients[name]
        activation = None
        if gradient is not None:
            activation = (gradient * level)[0].sum(0).clamp(min=0)[part]
        views.append(
            LevelView(
                name,
                level[0].detach().cpu().numpy()[part],
                stride,
                None if activation is None else activation.detach().cpu().numpy(),
            )
        )
    return views, goal


def _covered(sample, inputs: Tensor) -> tuple[int, int]:
    """Height and width of the picture inside the padded input."""
    shape = sample.metainfo.get('img_shape') or tuple(inputs.shape[-2:])
    return int(shape[0]), int(shape[1])

"""Channel attention from the covariance of each level of a pyramid."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmgcp.layers import covariance
from mmgcp.registry import MODELS

from .build import build_normalization


class SecondOrderGate(BaseModule):
    """Weight the channels of one map by what their covariance says.

    As the block of `Global Second-order Pooling Convolutional Networks
    <https://arxiv.org/abs/1811.12006>`_: reduction, covariance, a convolution of
    each row, a 1 x 1 convolution to one weight per channel. Two things differ,
    both for detectors that train with few images per process: nothing is
    normalised over the batch, and the weight is ``2 sigmoid`` of a convolution
    that starts at zero, so that a fresh gate is the identity to the last bit and
    can be put into a pre-trained network.
    """

    def __init__(
        self,
        channels: int,
        reduced_channels: int,
        normalization: dict | None,
        norm_cfg: dict | None,
    ) -> None:
        super().__init__(init_cfg=dict(type='Kaiming', layer='Conv2d'))
        reduced = min(reduced_channels, channels)
        if norm_cfg is not None and norm_cfg['type'] == 'GN':
            groups = math.gcd(norm_cfg['num_groups'], reduced)
            norm_cfg = {**norm_cfg, 'num_groups': groups}
        self.reduction = ConvModule(channels, reduced, 1, norm_cfg=norm_cfg)
        self.normalization = build_normalization(normalization, channels=reduced)
        self.rows = nn.Conv2d(reduced, 4 * reduced, (1, reduced), groups=reduced)
        self.weight = nn.Conv2d(4 * reduced, channels, 1)
        self._start_as_identity()

    def _start_as_identity(self) -> None:
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(cast(Tensor, self.weight.bias))

    def init_weights(self) -> None:
        """Initialise, and start as the identity."""
        super().init_weights()
        self._start_as_identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        matrix = covariance(self.reduction(x))
        if self.normalization is None:
            matrix = _unit_mean_variance(matrix)
        else:
            matrix = self.normalization(matrix)
        rows = self.rows(matrix.unsqueeze(2).to(x.dtype))
        weight = 2 * self.weight(torch.relu(rows)).sigmoid()
        return x * weight.to(x.dtype)


def _unit_mean_variance(matrix: Tensor) -> Tensor:
    """Divide each matrix by its mean diagonal; a zero matrix stays zero."""
    scale = matrix.diagonal(dim1=1, dim2=2).mean(1)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return matrix / scale[:, None, None]


@MODELS.register_module()
class SecondOrderAttention(BaseModule):
    """Second-order channel attention on the levels of a feature pyramid.

    It maps each level onto one of the same shape, so it fits between an encoder
    and a neck or decoder, or behind a neck. mmdet and mmseg build a list of necks
    as a chain::

        neck=[
            dict(type='mmgcp.SecondOrderAttention',
                 in_channels=[256, 512, 1024, 2048]),
            dict(type='FPN', in_channels=[256, 512, 1024, 2048], ...),
        ]

    The parameters of the second are then called ``neck.1.*``. A fresh module is the
    identity to the last bit.

    Args:
        in_channels (Sequence[int]): Channels of each level.
        reduced_channels (int): Channels the covariance is taken of; at most those
            of the level are used. Defaults to 64.
        levels (Sequence[int], optional): Levels to act on; the others pass.
            Defaults to None, which means all.
        normalization (dict, optional): Normalisation of the covariance, such as
            ``dict(type='NewtonSchulz')``. Defaults to None, which divides it by its
            mean variance.
        norm_cfg (dict, optional): Norm of the reduction. Defaults to
            ``dict(type='GN', num_groups=8)``, which does not depend on the batch;
            narrow levels take as many groups as divide them.

    Raises:
        ValueError: If ``levels`` names one that does not exist.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        reduced_channels: int = 64,
        levels: Sequence[int] | None = None,
        normalization: dict | None = None,
        norm_cfg: dict | None = dict(type='GN', num_groups=8),  # noqa: B006
    ) -> None:
        super().__init__()
        self.in_channels = list(in_channels)
        chosen = chosen_levels('SecondOrderAttention', levels, len(self.in_channels))
        self.gates = ModuleList(
            SecondOrderGate(channels, reduced_channels, normalization, norm_cfg)
            if level in chosen
            else nn.Identity()
            for level, channels in enumerate(self.in_channels)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map levels ``(B, C_i, H_i, W_i)`` to levels of the same shapes."""
        check_levels('SecondOrderAttention', inputs, self.in_channels)
        return tuple(
            gate(level) for gate, level in zip(self.gates, inputs, strict=True)
        )


def chosen_levels(name: str, levels: Sequence[int] | None, number: int) -> set[int]:
    """Indices of the levels that a neck acts on.

    Raises:
        ValueError: If one of them does not exist.
    """
    chosen = range(number) if levels is None else levels
    for level in chosen:
        if not -number <= level < number:
            raise ValueError(
                f'mmgcp.{name}: levels={list(chosen)} names level {level}, but '
                f'in_channels lists {number} levels'
            )
    return {level % number for level in chosen}


def check_levels(name: str, inputs: Sequence[Tensor], in_channels: list) -> None:
    """Hold the levels of a pyramid against ``in_channels``.

    Raises:
        ValueError: If their number or channels differ.
    """
    found = [level.shape[1] for level in inputs]
    if found != in_channels:
        raise ValueError(
            f'mmgcp.{name}: in_channels={in_channels}, but the levels have '
            f'{found} channels: set in_channels={found}'
        )

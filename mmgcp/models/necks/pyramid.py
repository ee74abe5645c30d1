"""Second-order necks of detectors and segmentors, on the levels of a pyramid."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmgcp.layers import DropCov, covariance
from mmgcp.models.normalizations import build_normalization
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError


class PyramidNeck(BaseModule):
    """One module for each chosen level of a pyramid; the other levels pass.

    ``build`` makes it from the channels of the level. The modules are in a list called
    ``name``, the first part of their state-dict keys.
    """

    def __init__(
        self,
        name: str,
        in_channels: Sequence[int],
        levels: Sequence[int] | None,
        build: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        number = len(in_channels)
        chosen = list(range(number) if levels is None else levels)
        if any(not -number <= level < number for level in chosen):
            raise ConfigValueError(
                f'mmgcp.{type(self).__name__}: levels={chosen} is out of range: '
                f'in_channels lists {number} levels'
            )
        chosen = [level % number for level in chosen]
        modules = ModuleList(
            build(channels) if level in chosen else nn.Identity()
            for level, channels in enumerate(in_channels)
        )
        self.in_channels, self.name = list(in_channels), name
        self.add_module(name, modules)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map levels ``(B, C_i, H_i, W_i)`` to levels of the same shapes."""
        found = [level.shape[1] for level in inputs]
        if found != self.in_channels:
            raise ConfigValueError(
                f'mmgcp.{type(self).__name__}: in_channels={self.in_channels}, but '
                f'the levels have {found} channels: set in_channels={found}'
            )
        modules = getattr(self, self.name)
        return tuple(f(level) for f, level in zip(modules, inputs, strict=True))


class SecondOrderGate(BaseModule):
    """Weight the channels of one map by what their covariance says.

    As the block of `GSoP-Net <https://arxiv.org/abs/1811.12006>`_: reduction,
    covariance, a convolution of each row, a 1 x 1 convolution to one weight per
    channel. Two things differ, both for detectors that train with few images per
    process: nothing is normalized over the batch, and the weight is ``2 sigmoid`` of
    a convolution that starts at zero, so that a fresh gate is the identity.
    """

    def __init__(
        self, channels: int, reduced_channels: int, normalization: dict | None
    ) -> None:
        zero = dict(type='Constant', name='weight', val=0)
        super().__init__(dict(type='Kaiming', layer='Conv2d', override=zero))
        reduced = min(reduced_channels, channels)
        norm_cfg = dict(type='GN', num_groups=math.gcd(8, reduced))
        self.reduction = ConvModule(channels, reduced, 1, norm_cfg=norm_cfg)
        self.normalization = build_normalization(normalization, reduced)
        self.rows = nn.Conv2d(reduced, 4 * reduced, (1, reduced), groups=reduced)
        self.weight = nn.Conv2d(4 * reduced, channels, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(cast(Tensor, self.weight.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        matrix = covariance(self.reduction(x))
        if self.normalization is None:
            scale = matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
            # a map of zeros stays zero
            matrix = matrix / torch.where(scale > 0, scale, 1)
        else:
            matrix = self.normalization(matrix)
        rows = self.rows(matrix.unsqueeze(2).to(x.dtype))
        weight = 2 * self.weight(torch.relu(rows)).sigmoid()
        return x * weight.to(x.dtype)


@MODELS.register_module()
class SecondOrderAttention(PyramidNeck):
    """Second-order channel attention on the levels of a feature pyramid.

    It maps each level onto one of the same shape, so it fits between an encoder
    and a neck or decoder, or behind a neck. mmdet and mmseg build a list of necks
    as a chain::

        neck=[
            dict(type='mmgcp.SecondOrderAttention', in_channels=[256, 512, 1024]),
            dict(type='FPN', in_channels=[256, 512, 1024], ...),
        ]

    The parameters of the second are then called ``neck.1.*``.

    Args:
        reduced_channels: Channels the covariance is taken of; at most those of the
            level are used.
        levels: Levels to act on, by default all.
        normalization: Normalization of the covariance, such as
            ``dict(type='NewtonSchulz')``. Without one it is divided by its mean
            variance.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        reduced_channels: int = 64,
        levels: Sequence[int] | None = None,
        normalization: dict | None = None,
    ) -> None:
        def gate(channels: int) -> nn.Module:
            return SecondOrderGate(channels, reduced_channels, normalization)

        super().__init__('gates', in_channels, levels, gate)


@MODELS.register_module()
class AdaptiveChannelDropout(PyramidNeck):
    """DropCov's channel dropout of each level, the identity at inference.

    In training each level goes through :class:`mmgcp.layers.DropCov`
    (`DropCov <https://openreview.net/forum?id=QLGuUwDx4S>`_): the rate follows how
    well the importance of the channels matches the row sums of their covariance. It
    fits where ``mmgcp.SecondOrderAttention`` fits, usually between encoder and FPN.

    Args:
        levels: Levels to act on, by default the last, as in pre-training.
        max_rate: Upper limit of the rate. The published rule has none and may drop
            all channels of a level, which a detector does not survive.
        **kwargs: Further arguments of the layer, such as ``sync_rate``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        levels: Sequence[int] | None = (-1,),
        max_rate: float = 0.5,
        **kwargs: Any,
    ) -> None:
        def drop(channels: int) -> nn.Module:
            return DropCov(channels, max_rate=max_rate, **kwargs)

        super().__init__('drops', in_channels, levels, drop)

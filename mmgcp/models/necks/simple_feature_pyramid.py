"""The pyramid of ViTDet, for encoders whose maps all have one stride."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Levels of other strides from the maps of a plain transformer.

    `ViTDet <https://arxiv.org/abs/2203.16527>`_: transposed convolutions or
    max-pooling, then a 1 x 1 and a 3 x 3 convolution, each with a layer norm over the
    channels.

    Args:
        in_channels: Channels of the maps.
        out_channels: Channels of the levels.
        scales: Size of each level over that of the map: 4, 2, 1 or 0.5.

    Raises:
        ConfigValueError: A scale is another, or the maps are neither one nor one for
            each level, or have other channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not set(scales) <= {4, 2, 1, 0.5}:
            raise ConfigValueError(
                f'mmgcp.SimpleFeaturePyramid: scales={tuple(scales)}; each has to be '
                '4, 2, 1 or 0.5'
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.scales = tuple(scales)
        self.levels = nn.ModuleList(
            nn.Sequential(
                *_rescaled(in_channels, scale),
                nn.Conv2d(_width(in_channels, scale), out_channels, 1, bias=False),
                ChannelNorm(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                ChannelNorm(out_channels),
            )
            for scale in scales
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the last map ``(B, C, H, W)``, or one map for each level, to levels."""
        maps = list(inputs) * (len(self.levels) if len(inputs) == 1 else 1)
        found = [x.shape[1] for x in maps]
        if found != [self.in_channels] * len(self.levels):
            raise ConfigValueError(
                f'mmgcp.SimpleFeaturePyramid: expected one or {len(self.levels)} maps '
                f'of in_channels={self.in_channels}, got channels {found}'
            )
        return tuple(f(x) for f, x in zip(self.levels, maps, strict=True))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of maps ``(B, C, H, W)``."""

    def forward(self, input: Tensor) -> Tensor:
        x = input.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def _width(channels: int, scale: float) -> int:
    return channels // int(scale) if scale > 1 else channels


def _rescaled(channels: int, scale: float) -> list[nn.Module]:
    half = channels // 2
    if scale == 4:
        return [
            nn.ConvTranspose2d(channels, half, 2, 2),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, channels // 4, 2, 2),
        ]
    if scale == 2:
        return [nn.ConvTranspose2d(channels, half, 2, 2)]
    return [nn.MaxPool2d(2, 2)] if scale == 0.5 else []

"""DropCov's channel dropout on the levels of a pyramid, while fine-tuning."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmgcp import layers
from mmgcp.registry import MODELS

from .second_order_attention import check_levels, chosen_levels


@MODELS.register_module()
class AdaptiveChannelDropout(BaseModule):
    """Adaptive channel dropout of each level, the identity at inference.

    In training each level goes through :class:`mmgcp.layers.AdaptiveChannelDropout`
    (`DropCov <https://openreview.net/forum?id=QLGuUwDx4S>`_): the rate follows how
    well the importance of the channels matches the row sums of their covariance. At
    inference the levels are passed on as they are, at no cost. It fits where
    ``mmgcp.SecondOrderAttention`` fits, usually between encoder and FPN; see there
    for the chain of necks.

    Args:
        in_channels (Sequence[int]): Channels of each level.
        levels (Sequence[int], optional): Levels to act on; the others pass.
            Defaults to (-1, ), the one that pre-training acts on.
        max_rate (float): Upper limit of the rate. Defaults to 0.5: the published
            rule may drop all channels of a level, which a detector does not
            survive.
        **kwargs: Further arguments of the layer, such as ``sync_rate``.

    Raises:
        ValueError: If ``levels`` names one that does not exist.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        levels: Sequence[int] | None = (-1,),
        max_rate: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.in_channels = list(in_channels)
        chosen = chosen_levels('AdaptiveChannelDropout', levels, len(self.in_channels))
        self.drops = nn.ModuleList(
            layers.AdaptiveChannelDropout(channels, max_rate=max_rate, **kwargs)
            if level in chosen
            else nn.Identity()
            for level, channels in enumerate(self.in_channels)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map levels ``(B, C_i, H_i, W_i)`` to levels of the same shapes."""
        check_levels('AdaptiveChannelDropout', inputs, self.in_channels)
        return tuple(
            drop(level) for drop, level in zip(self.drops, inputs, strict=True)
        )

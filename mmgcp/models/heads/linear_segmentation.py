"""The linear head of frozen evaluation in segmentation."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from mmgcp.models.framework import FrameworkModule
from mmgcp.registry import MODELS


@MODELS.register_module()
class LinearSegmentationHead(FrameworkModule):
    """Dropout, batch norm and a 1 x 1 convolution, in mmseg.

    The linear protocol of `DINOv2 <https://arxiv.org/abs/2304.07193>`_. Freeze the
    encoder (``frozen_stages=4``, ``norm_eval=True``) to measure its maps.

    Args:
        in_channels: Channels of one map, or of each map of ``in_index``. Several are
            resized to the first and concatenated.
        dropout_ratio: Probability to drop a channel in training.
        norm_cfg: The batch norm.
        **kwargs: Further arguments of mmseg's ``FCNHead``.
    """

    framework_base = 'FCNHead'
    only_framework = 'mmseg'

    def __init__(
        self,
        in_channels: int | Sequence[int],
        dropout_ratio: float = 0.1,
        norm_cfg: dict = dict(type='SyncBN', requires_grad=True),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        from mmcv.cnn import build_norm_layer

        several = isinstance(in_channels, Sequence)
        channels = (
            sum(in_channels) if isinstance(in_channels, Sequence) else in_channels
        )
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            input_transform='resize_concat' if several else None,
            num_convs=0,
            concat_input=False,
            dropout_ratio=0,
            **kwargs,
        )
        _, norm = build_norm_layer(norm_cfg, channels)
        self.convs = nn.Sequential(nn.Dropout2d(dropout_ratio), norm)

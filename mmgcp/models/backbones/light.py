"""The two light encoders of the GCP papers, with feature pyramids.

Both keep a total stride of 32 in pre-training too, so that there is no choice of
last stage here.
"""

from typing import Any

from mmengine.model import BaseModule
from torch import Tensor

from mmgcp.models.checks import check_wiring_around
from mmgcp.models.framework import FrameworkModule, loads_checkpoint
from mmgcp.registry import MODELS


@MODELS.register_module()
class GCPMobileNetV2(FrameworkModule):
    """mmpretrain's MobileNetV2, in any framework.

    `MobileNetV2: Inverted Residuals and Linear Bottlenecks
    <https://arxiv.org/abs/1801.04381>`_. The classes of that name in mmdet and mmseg
    have other parameter names or no last convolution, so that mmpretrain has to be
    installed beside them. Levels by ``out_indices``, at ``widen_factor=1``:

    ====== ============ ======== ======
    index  module       channels stride
    ====== ============ ======== ======
    1      ``layer2``   24       4
    2      ``layer3``   32       8
    4      ``layer5``   96       16
    6      ``layer7``   320      32
    7      ``conv2``    1280     32
    ====== ============ ======== ======

    The pooling head of pre-training sees ``conv2``.

    Args:
        framework (str, optional): Accepted for likeness with the other encoders.
        **kwargs: All arguments of mmpretrain's ``MobileNetV2``. ``out_indices``
            defaults to (7, ) there.
    """

    framework_base = 'backbones.MobileNetV2'
    only_framework = 'mmpretrain'

    def __init__(self, *args: Any, framework: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that :meth:`forward` returns."""
        widths = [getattr(self, n)[-1].conv[-1].out_channels for n in self.layers[:7]]
        widths.append(self.conv2.out_channels)
        return tuple(widths[i] for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map that :meth:`forward` returns."""
        strides = [2]
        for *_, step in self.arch_settings:
            strides.append(strides[-1] * step)
        strides.append(strides[-1])
        return tuple(strides[i + 1] for i in self.out_indices)

    def _freeze_stages(self) -> None:
        # mmpretrain stops the gradients of the stem only, and lets its running
        # statistics drift.
        super()._freeze_stages()
        if self.frozen_stages >= 0:
            self.conv1.eval()


@MODELS.register_module()
class GCPShuffleNetV2(FrameworkModule):
    """mmpretrain's ShuffleNetV2, in any framework.

    `ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design
    <https://arxiv.org/abs/1807.11164>`_. mmdet and mmseg have none, so that
    mmpretrain has to be installed beside them. Levels by ``out_indices``, at
    ``widen_factor=1``:

    ====== =============== ======== ======
    index  module          channels stride
    ====== =============== ======== ======
    0      ``layers.0``    116      8
    1      ``layers.1``    232      16
    2      ``layers.2``    464      32
    3      ``layers.3``    1024     32
    ====== =============== ======== ======

    The only map of stride 4 is the max-pooled stem of 24 channels. The pooling head
    of pre-training sees ``layers.3``.

    Args:
        out_indices (Sequence[int]): Levels to return. Defaults to (3, ).
        with_stem (bool): Return the max-pooled stem in front of them. Defaults to
            False.
        framework (str, optional): Accepted for likeness with the other encoders.
        **kwargs: All further arguments of mmpretrain's ``ShuffleNetV2``.
    """

    framework_base = 'backbones.ShuffleNetV2'
    only_framework = 'mmpretrain'

    def __init__(
        self,
        *args: Any,
        with_stem: bool = False,
        framework: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.with_stem = with_stem

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that :meth:`forward` returns."""
        widths = [2 * layer[-1].branch2[-1].out_channels for layer in self.layers[:3]]
        widths.append(self.layers[3].out_channels)
        stem = (self.conv1.out_channels,) if self.with_stem else ()
        return stem + tuple(widths[i] for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map that :meth:`forward` returns."""
        stem = (4,) if self.with_stem else ()
        return stem + tuple((8, 16, 32, 32)[i] for i in self.out_indices)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(B, 3, H, W)`` to the levels."""
        x = self.maxpool(self.conv1(x))
        outs = [x] if self.with_stem else []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def init_weights(self) -> None:
        """Initialise or load the weights; what loads has the last word."""
        if not loads_checkpoint(self.init_cfg):
            super().init_weights()
            return
        check_wiring_around(self)
        # mmpretrain's own would draw the convolutions anew after any initialiser
        # that is not called Pretrained.
        BaseModule.init_weights(self)

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        if self.frozen_stages >= 0:
            self.conv1.eval()

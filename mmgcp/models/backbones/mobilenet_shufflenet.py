"""MobileNetV2 and ShuffleNetV2 of mmpretrain, with feature pyramids.

Both keep a total stride of 32 in pre-training with global covariance pooling, so that
there is no choice of last stage. mmdet and mmseg have no class with the same names of
parameters: mmpretrain has to be installed beside them.
"""

from typing import Any

from mmengine.model import BaseModule

from mmgcp.models.framework import FrameworkModule
from mmgcp.registry import MODELS


class _FromMmpretrain(FrameworkModule):
    only_framework = 'mmpretrain'

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Data parallelism waits for the gradient of all that learns when it starts:
        # mmpretrain freezes later, and stages behind the last level have none.
        self._freeze_stages()
        for name in self.layer_names[max(self.out_indices) + 1 :]:
            self.get_submodule(name).requires_grad_(False)

    def _freeze_stages(self) -> None:
        # mmpretrain freezes the parameters of the stem only; its running statistics
        # would still change.
        super()._freeze_stages()
        if self.frozen_stages >= 0:
            self.conv1.eval()


@MODELS.register_module()
class GCPMobileNetV2(_FromMmpretrain):
    """mmpretrain's `MobileNetV2 <https://arxiv.org/abs/1801.04381>`_, in any framework.

    Levels by ``out_indices``, at ``widen_factor=1``:

    ====== ============ ======== ======
    index  module       channels stride
    ====== ============ ======== ======
    1      ``layer2``   24       4
    2      ``layer3``   32       8
    4      ``layer5``   96       16
    6      ``layer7``   320      32
    7      ``conv2``    1280     32
    ====== ============ ======== ======

    The pooling head of pre-training sees ``conv2``. All arguments are those of
    mmpretrain's class, where ``out_indices`` is (7, ) by default.
    """

    framework_base = 'MobileNetV2'

    @property
    def layer_names(self) -> list[str]:
        """Names of the stages, from the first to the last."""
        return list(self.layers)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that :meth:`forward` returns."""
        widths = [getattr(self, n)[-1].conv[-1].out_channels for n in self.layers[:7]]
        widths.append(self.conv2.out_channels)
        return tuple(widths[i] for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map that :meth:`forward` returns."""
        return tuple((2, 4, 8, 16, 16, 32, 32, 32)[i] for i in self.out_indices)


@MODELS.register_module()
class GCPShuffleNetV2(_FromMmpretrain):
    """mmpretrain's `ShuffleNetV2 <https://arxiv.org/abs/1807.11164>`_ likewise.

    Levels by ``out_indices``, at ``widen_factor=1``:

    ====== =============== ======== ======
    index  module          channels stride
    ====== =============== ======== ======
    0      ``layers.0``    116      8
    1      ``layers.1``    232      16
    2      ``layers.2``    464      32
    3      ``layers.3``    1024     32
    ====== =============== ======== ======

    The pooling head of pre-training sees ``layers.3``. All arguments are those of
    mmpretrain's class, where ``out_indices`` is (3, ) by default.
    """

    framework_base = 'ShuffleNetV2'

    def init_weights(self) -> None:
        """Initialize as ``init_cfg`` says; without one as mmpretrain does."""
        if self.init_cfg:
            # mmpretrain's method would draw the convolutions again.
            BaseModule.init_weights(self)
        else:
            super().init_weights()

    @property
    def layer_names(self) -> list[str]:
        """Names of the stages, from the first to the last."""
        return [f'layers.{i}' for i in range(len(self.layers))]

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that :meth:`forward` returns."""
        widths = [2 * layer[-1].branch2[-1].out_channels for layer in self.layers[:3]]
        widths.append(self.layers[3].out_channels)
        return tuple(widths[i] for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map that :meth:`forward` returns."""
        return tuple((8, 16, 32, 32)[i] for i in self.out_indices)

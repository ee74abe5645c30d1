"""Pooling of the last feature map into a vector, for classification."""

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmgcp.layers import covariance_vector
from mmgcp.models.normalizations import build_dropout, build_normalization
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError


@MODELS.register_module()
class GlobalCovariancePooling(BaseModule):
    """Second-order neck of a classifier.

    1 x 1 convolution - batch norm - ReLU to ``reduced_channels``, channel dropout,
    centered covariance over the positions, normalization of the matrix, upper
    triangle. Two arguments make it one of the pooling heads of the papers:

    ========= ======================================= ========================
    head      normalization                           dropout
    ========= ======================================= ========================
    iSQRT-COV ``dict(type='NewtonSchulz')``           None
    MPN-COV   ``dict(type='MatrixPower', alpha=0.5)`` None
    DropCov   None                                    ``dict(type='DropCov')``
    ========= ======================================= ========================

    The head behind it is ``LinearClsHead(in_channels=K)`` with ``K = r (r + 1) / 2``
    and ``r = reduced_channels``: 2080 for 64, 8256 for 128, 32896 for 256.

    Args:
        in_channels: Channels of the last feature map.
        reduced_channels: Channels ``r`` that the covariance is taken of.
        drop_rate: Rate of a dropout of the vector's entries besides, 0.2 in the
            published MobileNetV2.
        act_cfg: Activation of the reduction, ``ReLU6`` in the published MobileNetV2
            and ShuffleNetV2.

    Raises:
        ConfigValueError: A type is not registered, or the map that comes has other
            channels.

    `iSQRT-COV <https://arxiv.org/abs/1712.01034>`_,
    `MPN-COV <https://arxiv.org/abs/1703.08050>`_,
    `DropCov <https://openreview.net/forum?id=QLGuUwDx4S>`_.
    """

    def __init__(
        self,
        in_channels: int,
        reduced_channels: int,
        normalization: dict | None = None,
        dropout: dict | None = None,
        drop_rate: float = 0.0,
        norm_cfg: dict = dict(type='BN'),  # noqa: B006
        act_cfg: dict = dict(type='ReLU'),  # noqa: B006
        init_cfg: dict | list[dict] | None = [  # noqa: B006
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ],
    ) -> None:
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.reduced_channels = reduced_channels
        self.reduction = ConvModule(
            in_channels, reduced_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        self.dropout = build_dropout(dropout, reduced_channels)
        self.normalization = build_normalization(normalization, reduced_channels)
        self.vector_dropout = nn.Dropout(drop_rate)

    @property
    def out_channels(self) -> int:
        """Length ``K`` of the vector, the ``in_channels`` of the head."""
        return self.reduced_channels * (self.reduced_channels + 1) // 2

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        """Map the last map ``(B, in_channels, H, W)`` to vectors ``(B, K)``."""
        x = inputs[-1] if isinstance(inputs, (tuple, list)) else inputs
        if x.shape[1] != self.in_channels:
            raise ConfigValueError(
                f'mmgcp.GlobalCovariancePooling: in_channels={self.in_channels}, but '
                f'the last map of the encoder has {x.shape[1]} channels: set '
                f'neck.in_channels={x.shape[1]}'
            )
        return (self.pool(self.reduction(x)),)

    def pool(self, x: Tensor) -> Tensor:
        """Map features ``(B, reduced_channels, H, W)`` to vectors ``(B, K)``."""
        if self.dropout is not None:
            x = self.dropout(x)
        if self.normalization is None:
            vector = covariance_vector(x)
        else:
            vector = self.normalization.from_features(x)
        return self.vector_dropout(vector)


@MODELS.register_module()
class GlobalAveragePooling(nn.Module):
    """Average pooling of the last map, then a dropout of the vector's entries.

    The published MobileNetV2 drops a fifth of them; mmpretrain's neck and head cannot.

    Args:
        drop_rate: Rate of the dropout.
    """

    def __init__(self, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        """Map the last map ``(B, C, H, W)`` to vectors ``(B, C)``."""
        x = inputs[-1] if isinstance(inputs, tuple | list) else inputs
        return (self.dropout(x.mean((2, 3))),)

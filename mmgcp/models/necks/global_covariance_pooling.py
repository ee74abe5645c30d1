"""Global covariance pooling of the last feature map, for classification."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmgcp.layers import covariance, covariance_vector, triangle
from mmgcp.registry import MODELS

from .build import build_dropout, build_normalization


@MODELS.register_module()
class GlobalCovariancePooling(BaseModule):
    """Second-order neck of a classifier.

    1 x 1 convolution - batch norm - ReLU to ``reduced_channels``, channel dropout
    (DropCov, in training only), centred covariance over the positions,
    normalisation of the matrix, upper triangle. Which pooling head of the papers
    it is depends on the last two arguments:

    ============== ======================================== ================
    head           normalization                            dropout
    ============== ======================================== ================
    iSQRT-COV      ``dict(type='NewtonSchulz')``            None
    MPN-COV        ``dict(type='MatrixPower', alpha=0.5)``  None
    DropCov        None                                     ``dict(type=
                                                            'AdaptiveChannel
                                                            Dropout')``
    ============== ======================================== ================

    The head behind it is ``LinearClsHead(in_channels=K)`` with ``K = r (r + 1) / 2``
    and ``r = reduced_channels``: 2080 for 64, 8256 for 128, 32896 for 256.

    Args:
        in_channels (int): Channels of the last feature map.
        reduced_channels (int): Channels ``r`` that the covariance is taken of.
        normalization (dict, optional): Normalisation of the covariance, without
            scope. Defaults to None.
        dropout (dict, optional): Channel dropout in front of the covariance, or
            dropout of the vector behind it (``ElementDropout``). Defaults to None.
        drop_rate (float): Rate of an element dropout on the vector besides, 0.2 in
            the official MobileNetV2. Defaults to 0.
        norm_cfg (dict): Norm of the reduction. Defaults to ``dict(type='BN')``.
        act_cfg (dict): Activation of the reduction (``ReLU6`` in the official
            MobileNetV2 and ShuffleNetV2). Defaults to ``dict(type='ReLU')``.
        init_cfg (dict | list[dict]): Initialisation of the reduction.

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
        init_cfg: dict | Sequence[dict] | None = (
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer='_BatchNorm'),
        ),
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        self.in_channels = in_channels
        self.reduced_channels = reduced_channels
        self.reduction = ConvModule(
            in_channels, reduced_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        self.dropout = build_dropout(dropout, reduced_channels)
        self.normalization = build_normalization(
            normalization, channels=reduced_channels
        )
        self.drops_vector = getattr(self.dropout, 'on_vector', False)
        self.vector_dropout = nn.Dropout(drop_rate)

    @property
    def out_channels(self) -> int:
        """Length ``K`` of the vector, the ``in_channels`` of the head."""
        return self.reduced_channels * (self.reduced_channels + 1) // 2

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        """Pool the last map.

        Args:
            inputs (Tensor | tuple[Tensor]): Maps of the encoder, of which the last
                one ``(B, in_channels, H, W)`` is used.

        Returns:
            tuple[Tensor]: One vector per image, ``(B, K)``.

        Raises:
            ValueError: If the map does not have ``in_channels`` channels.
        """
        x = inputs[-1] if isinstance(inputs, (tuple, list)) else inputs
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f'GlobalCovariancePooling: in_channels={self.in_channels}, but the '
                f'last map of the encoder has {x.shape[1]} channels: set '
                f'neck.in_channels={x.shape[1]}'
            )
        return (self.pool(self.reduction(x)),)

    def pool(self, x: Tensor) -> Tensor:
        """Pool a map of reduced channels.

        Args:
            x (Tensor): ``(B, reduced_channels, H, W)``.

        Returns:
            Tensor: One vector per image, ``(B, K)``.
        """
        if self.dropout is None:
            vector = self._second_order(x)
        elif self.drops_vector:
            vector = self.dropout(self._second_order(x))
        elif self.normalization is None and hasattr(self.dropout, 'covariance_vector'):
            vector = self.dropout.covariance_vector(x)
        else:
            vector = self._second_order(self.dropout(x))
        return self.vector_dropout(vector)

    def _second_order(self, x: Tensor) -> Tensor:
        if hasattr(self.normalization, 'forward_features'):
            return self.normalization.forward_features(x.flatten(2))
        if self.normalization is None:
            return covariance_vector(x)
        return triangle(self.normalization(covariance(x)))

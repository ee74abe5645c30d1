"""Pooling of the last feature map, or of tokens, into a vector, for classification."""

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmgcp.layers import covariance_vector, multi_head_cross_covariance
from mmgcp.models.normalizations import build_dropout, build_normalization
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError

from .last_map import last_map


class PoolingNeck(BaseModule):
    """Base of the second-order necks: when frozen, it stays in evaluation mode."""

    frozen = False

    def freeze(self) -> None:
        """Train nothing of the neck from now on."""
        self.frozen = True
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> 'PoolingNeck':
        """Set the mode, which is evaluation when the neck is frozen."""
        return super().train(mode and not self.frozen)


@MODELS.register_module()
class GlobalCovariancePooling(PoolingNeck):
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
        reduced_channels: Channels ``r`` that the covariance is taken of.
        drop_rate: Rate of a dropout of the vector's entries besides, 0.2 in the
            published MobileNetV2.
        act_cfg: Activation of the reduction, ``ReLU6`` in the published MobileNetV2
            and ShuffleNetV2.
        frozen: Train nothing of the neck, and keep it in evaluation mode.

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
        frozen: bool = False,
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
        if frozen:
            self.freeze()

    @property
    def out_channels(self) -> int:
        """Length ``K`` of the vector, the ``in_channels`` of the head."""
        return self.reduced_channels * (self.reduced_channels + 1) // 2

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        """Map the last map ``(B, in_channels, H, W)`` to vectors ``(B, K)``.

        Of tokens ``(B, 1 + N, in_channels)`` all but the first are positions.
        """
        x = last_map('GlobalCovariancePooling', inputs, self.in_channels)
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

    Of tokens those behind the class token. The published MobileNetV2 drops a fifth of
    the entries; mmpretrain's neck and head cannot.
    """

    def __init__(self, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        """Map the last map ``(B, C, H, W)``, or tokens, to vectors ``(B, C)``."""
        x = last_map('GlobalAveragePooling', inputs)
        return (self.dropout(x.mean((2, 3))),)


@MODELS.register_module()
class MultiHeadCrossCovariancePooling(PoolingNeck):
    """MGCrP: second-order neck for the tokens of a transformer.

    `So-ViT <https://arxiv.org/abs/2104.10935>`_; with the two dropouts it is the
    transformer form of `DropCov <https://openreview.net/forum?id=QLGuUwDx4S>`_. Two
    projections of every token to ``num_heads`` heads of ``head_dims`` channels, a
    cross-covariance over the tokens per head, its normalization, all matrices in
    one vector of length ``num_heads * head_dims^2``. The head behind it is
    ``mmgcp.TokenFusionHead``.

    Args:
        normalization: Normalization of each matrix, such as ``dict(type='svPN')``;
            none in DropCov.
        drop_rate: Rate of the dropout in front of the covariance, one mask for both
            projections.
        element_drop_rate: Rate of the dropout of the entries of the matrices.
        pool_cls_token: Take the class token into the covariance, for the fusion
            ``'aggre_all'``.
        match_released_code: What the released code computes (True) or what it means
            (False). The released code calls 2-D functions on 3-D tensors, so that
            (1) its dropout, meant for channels, drops whole tokens, and (2) the
            mean it subtracts is one number per sample and head, not one per
            channel, so that the result is no covariance. (2) acts at inference:
            published weights need True. Use False for training without them.
        frozen: As in :class:`GlobalCovariancePooling`.

    Raises:
        ConfigValueError: The normalization is not registered, or the tokens that come
            have other channels.

    Note:
        ``wr.weight`` is ``classifier.representation.wr.weight`` of published files
        without its third group of rows, which the released code never reads.
    """

    def __init__(
        self,
        in_channels: int,
        num_heads: int = 6,
        head_dims: int = 24,
        normalization: dict | None = None,
        drop_rate: float = 0.2,
        element_drop_rate: float = 0.5,
        pool_cls_token: bool = False,
        match_released_code: bool = True,
        frozen: bool = False,
        init_cfg: dict | None = dict(type='TruncNormal', layer='Linear', std=0.02),  # noqa: B006
    ) -> None:
        super().__init__(init_cfg)
        self.match_released_code = match_released_code
        self.in_channels, self.num_heads = in_channels, num_heads
        self.head_dims, self.drop_rate = head_dims, drop_rate
        self.pool_cls_token = pool_cls_token
        self.wr = nn.Linear(in_channels, 2 * num_heads * head_dims, bias=False)
        self.normalization = build_normalization(normalization, head_dims)
        self.element_dropout = nn.Dropout(element_drop_rate)
        if frozen:
            self.freeze()

    @property
    def out_channels(self) -> int:
        """Length of the vector."""
        return self.num_heads * self.head_dims**2

    def forward(self, inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Pool the last output of an encoder.

        It is a sequence ``(B, N, C)`` with the class token first, or a map
        ``(B, C, H, W)``. Returns the class token ``(B, C)``, of maps the mean of all
        tokens, and the vector ``(B, out_channels)``.
        """
        x = inputs[-1] if isinstance(inputs, tuple | list) else inputs
        has_cls = x.dim() == 3
        if x.dim() == 4:
            x = x.flatten(2).transpose(1, 2)
        if x.dim() != 3 or x.shape[2] != self.in_channels:
            raise ConfigValueError(
                'mmgcp.MultiHeadCrossCovariancePooling: expected tokens (B, N, '
                f'{self.in_channels}), got {tuple(x.shape)}. The encoder has to '
                "return all tokens (out_type='raw') or a map of in_channels channels"
            )
        cls_token = x[:, 0] if has_cls else x.mean(1)
        tokens = x[:, 1:] if has_cls and not self.pool_cls_token else x
        batch, number, _ = tokens.shape
        heads = self.wr(tokens).unflatten(2, (2, self.num_heads, self.head_dims))
        query, key = heads.permute(2, 0, 3, 1, 4)
        if self.training and self.drop_rate:
            shape = (number, 1) if self.match_released_code else (1, self.head_dims)
            mask = query.new_ones(batch, self.num_heads, *shape)
            mask = F.dropout(mask, self.drop_rate)
            query, key = query * mask, key * mask
        center = 'scalar' if self.match_released_code else 'channel'
        matrix = multi_head_cross_covariance(query, key, center).flatten(0, 1)
        if self.normalization is not None:
            matrix = self.normalization(matrix)
        return cls_token, self.element_dropout(matrix).reshape(batch, -1)

"""Classifier on the class token and the second-order vector of the other tokens."""

from typing import Any

import torch
from torch import Tensor, nn

from mmgcp.models.framework import FrameworkModule
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError

FUSIONS = ('sum_fc', 'concat', 'aggre_all')


@MODELS.register_module()
class TokenFusionHead(FrameworkModule):
    """Head behind ``mmgcp.MultiHeadCrossCovariancePooling``, in mmpretrain.

    `So-ViT <https://arxiv.org/abs/2104.10935>`_. Of the published files (``sum_fc``)
    ``classifier.cls_fc`` is ``cls_fc`` and ``classifier.visual_fc`` is ``visual_fc``.

    Args:
        in_channels: Channels ``C`` of the class token.
        second_order_channels: Length ``K`` of the vector, the neck's ``out_channels``.
        fusion: ``'sum_fc'`` adds the logits of one classifier each (all published
            weights), ``'concat'`` classifies both in one vector, ``'aggre_all'``
            classifies the second-order vector alone, to which the neck then adds the
            class token (``pool_cls_token=True``).
        **kwargs: Arguments of mmpretrain's ``ClsHead``: ``loss``, ``topk``,
            ``cal_acc``.

    Raises:
        ConfigValueError: ``fusion`` is unknown.
    """

    framework_base = 'ClsHead'
    only_framework = 'mmpretrain'

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        second_order_channels: int,
        fusion: str = 'sum_fc',
        init_cfg: dict | None = dict(type='TruncNormal', layer='Linear', std=0.02),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg=init_cfg, **kwargs)
        if fusion not in FUSIONS:
            raise ConfigValueError(
                f'mmgcp.TokenFusionHead: fusion={fusion!r} is unknown, use one of '
                f'{", ".join(FUSIONS)}'
            )
        self.num_classes, self.fusion = num_classes, fusion
        if fusion == 'sum_fc':
            self.cls_fc = nn.Linear(in_channels, num_classes)
            self.visual_fc = nn.Linear(second_order_channels, num_classes)
        else:
            both = in_channels if fusion == 'concat' else 0
            self.fc = nn.Linear(both + second_order_channels, num_classes)

    def pre_logits(self, feats: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The class token ``(B, C)`` and the vector ``(B, K)`` as they come."""
        return feats

    def forward(self, feats: tuple[Tensor, Tensor]) -> Tensor:
        """Map the outputs ``(B, C)`` and ``(B, K)`` of the neck to logits."""
        cls_token, vector = self.pre_logits(feats)
        if self.fusion == 'sum_fc':
            return self.cls_fc(cls_token) + self.visual_fc(vector)
        if self.fusion == 'concat':
            vector = torch.cat([cls_token, vector.to(cls_token.dtype)], 1)
        return self.fc(vector)

"""Global average pooling with a dropout, for classification."""

from torch import Tensor, nn

from mmgcp.registry import MODELS


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

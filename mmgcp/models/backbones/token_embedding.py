"""Convolutional token embedding of So-ViT."""

import torch
import torch.utils.checkpoint as checkpoint
from mmengine.model import BaseModule
from torch import Tensor, nn


class DenseLayer(nn.Module):
    """One layer of a dense block: 1 x 1, then 3 x 3 convolution.

    Args:
        channels (int): Channels of all maps before it together.
        growth (int): Channels it adds.
        official (bool): ReLU alone in front of each convolution, as in the
            published networks, or batch norm and ReLU.
    """

    def __init__(self, channels: int, growth: int, official: bool) -> None:
        super().__init__()
        hidden = 2 * growth
        self.norm1 = _activation(channels, official)
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm2 = _activation(hidden, official)
        self.conv2 = nn.Conv2d(hidden, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, growth, H, W)``."""
        return self.conv2(self.norm2(self.conv1(self.norm1(x))))


def _activation(channels: int, official: bool) -> nn.Module:
    if official:
        return nn.ReLU()
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())


class DenseBlock(nn.Module):
    """Layers of which each sees the maps of all before it (DenseNet)."""

    def __init__(self, channels: int, layers: int, growth: int, official: bool) -> None:
        super().__init__()
        for i in range(layers):
            layer = DenseLayer(channels + i * growth, growth, official)
            self.add_module(f'denselayer{i + 1}', layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C + layers * growth, H, W)``."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Module):
    """Batch norm, 1 x 1 convolution and average pooling, which halves the size."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, out_channels, H // 2, W // 2)``."""
        return self.pool(self.conv(self.norm(x)))


class DenseTokens(nn.Module):
    """Images to a map of tokens at stride 16."""

    def __init__(self, embed_dims: int, official: bool, with_cp: bool) -> None:
        super().__init__()
        self.with_cp = with_cp
        width, growth, layers, narrow = 64, 16, 6, 128
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.MaxPool2d(3, 2, padding=1)
        )
        stages: list[nn.Module] = []
        for _ in range(3):
            stages.append(DenseBlock(width, layers, growth, official))
            stages.append(Transition(width + layers * growth, narrow))
            width = narrow
        self.stage = nn.Sequential(*stages)
        self.transition = nn.Conv2d(narrow, embed_dims, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, embed_dims, H / 16, W / 16)``."""
        x = self.stem(x)
        for stage in self.stage:
            # The transitions hold batch norms, which a second pass would count twice.
            if self.with_cp and x.requires_grad and isinstance(stage, DenseBlock):
                x = checkpoint.checkpoint(stage, x, use_reentrant=False)
            else:
                x = stage(x)
        return self.transition(x)


class VisualTokens(BaseModule):
    """Token embedding of `So-ViT <https://arxiv.org/abs/2104.10935>`_.

    A 3 x 3 convolution and max-pooling, three DenseNet blocks of 6 layers with
    growth 16, each with a transition to 128 channels, and a 1 x 1 convolution.

    Args:
        embed_dims (int): Channels of a token.
        official (bool): Without norms inside the dense blocks. The published code
            means batch norm and ReLU there, but the library it takes the block from
            (timm 0.3 and 0.4) puts a bare ReLU in that place, and so do all
            published weights.
        with_cp (bool): Save memory by checkpointing the blocks.
    """

    def __init__(self, embed_dims: int, official: bool, with_cp: bool = False) -> None:
        super().__init__(
            init_cfg=[
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', layer='_BatchNorm', val=1),
            ]
        )
        self.tokens = DenseTokens(embed_dims, official, with_cp)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` to ``(B, embed_dims, H / 16, W / 16)``."""
        return self.tokens(x)

"""Token embedding, transformer block and positions of So-ViT.

The names of the submodules are those of the published state dicts.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


class DenseBlock(nn.Module):
    """DenseNet block of 6 layers: each one sees the maps of all layers before it.

    A layer is a 1 x 1 and a 3 x 3 convolution that adds 16 channels.
    """

    def __init__(self, channels: int, match_released_code: bool, with_cp: bool) -> None:
        super().__init__()
        # A second pass would count twice in the statistics of batch norms.
        self.with_cp = with_cp and match_released_code

        def norm(width: int) -> nn.Module:
            if match_released_code:
                return nn.ReLU()
            return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())

        for i in range(6):
            width = channels + 16 * i
            layer = _named(
                norm1=norm(width),
                conv1=nn.Conv2d(width, 32, 1, bias=False),
                norm2=norm(32),
                conv2=nn.Conv2d(32, 16, 3, padding=1, bias=False),
            )
            self.add_module(f'denselayer{i + 1}', layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C + 96, H, W)``."""
        if self.with_cp and x.requires_grad:
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)
        return x


def token_embedding(
    embed_dims: int, match_released_code: bool, with_cp: bool
) -> nn.Module:
    """Network from images ``(B, 3, H, W)`` to ``(B, embed_dims, H / 16, W / 16)``.

    A 3 x 3 convolution and max-pooling, three DenseNet blocks, each with a transition
    to 128 channels, and a 1 x 1 convolution.

    ``match_released_code`` leaves out the norms inside the dense blocks. The published
    code means batch norm and ReLU there, but the library it takes the block from
    (timm 0.3 and 0.4) puts a bare ReLU in that place, and so do all published weights.
    """
    stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.MaxPool2d(3, 2, padding=1))
    stages: list[nn.Module] = []
    for width in (64, 128, 128):
        stages.append(DenseBlock(width, match_released_code, with_cp))
        half = _named(
            norm=nn.BatchNorm2d(width + 96),
            conv=nn.Conv2d(width + 96, 128, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
        stages.append(half)
    transition = nn.Conv2d(128, embed_dims, 1)
    tokens = _named(stem=stem, stage=nn.Sequential(*stages), transition=transition)
    return _named(tokens=tokens)


class TokenAttention(nn.Module):
    """Multi-head self-attention without bias in ``qkv``."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=False)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(B, N, C)`` to ``(B, N, C)``."""
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(*qkv)
        return self.proj(out.transpose(1, 2).flatten(2))


class TokenBlock(nn.Module):
    """Pre-norm transformer block: attention, then two linear layers."""

    def __init__(
        self, embed_dims: int, num_heads: int, mlp_ratio: float, drop_path_rate: float
    ) -> None:
        super().__init__()
        hidden = int(embed_dims * mlp_ratio)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = TokenAttention(embed_dims, num_heads)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = _named(
            fc1=nn.Linear(embed_dims, hidden),
            act=nn.GELU(),
            fc2=nn.Linear(hidden, embed_dims),
        )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(B, N, C)`` to ``(B, N, C)``."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def sinusoidal_positions(number: int, channels: int) -> Tensor:
    """Fixed position embedding of a sequence, ``(1, number, channels)``.

    Channel ``c`` of position ``p`` has the angle ``p / 10000^(2 floor(c / 2) / C)``;
    sine in the even channels, cosine in the odd ones.
    """
    index = torch.arange(channels, dtype=torch.float64)
    rates = 10000 ** (-2 * torch.div(index, 2, rounding_mode='floor') / channels)
    angles = torch.arange(number, dtype=torch.float64)[:, None] * rates
    table = torch.where(index % 2 == 0, angles.sin(), angles.cos())
    return table.float().unsqueeze(0)


def interpolate_positions(
    positions: Tensor, grid: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Interpolate positions ``(1, 1 + H * W, C)`` of a grid to another size, bicubic.

    The first one, that of the class token, stays.
    """
    if size == grid:
        return positions
    first, patches = positions[:, :1], positions[:, 1:]
    patches = patches.transpose(1, 2).reshape(1, -1, *grid).float()
    patches = F.interpolate(patches, size, mode='bicubic', align_corners=False)
    return torch.cat([first, patches.flatten(2).transpose(1, 2).to(first)], 1)


def rescale(x: Tensor, scale: float) -> Tensor:
    """Rescale ``(B, C, H, W)``: bilinear upwards, max-pooling downwards."""
    if scale > 1:
        return F.interpolate(x, scale_factor=float(scale), mode='bilinear')
    return x if scale == 1 else F.max_pool2d(x, round(1 / scale), ceil_mode=True)

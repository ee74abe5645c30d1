"""Transformer blocks whose attention fits large images."""

import torch
import torch.nn.functional as F
import torch.utils.checkpoint as checkpoint
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from torch import Tensor, nn


class TokenAttention(BaseModule):
    """Self-attention of a class token and a grid of patch tokens.

    Args:
        embed_dims (int): Channels of a token.
        num_heads (int): Number of heads.
        window_size (int, optional): Patches attend to the class token and to the
            patches of their own ``window_size`` x ``window_size`` window; the class
            token attends to everything. Defaults to None, which means that all
            attend to all.
        chunk_size (int, optional): Number of queries that are worked on at a time.
            It bounds the memory and changes nothing else. Defaults to None.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        window_size: int | None = None,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(
                f'embed_dims={embed_dims} is not a multiple of num_heads={num_heads}'
            )
        self.num_heads, self.window_size = num_heads, window_size
        self.chunk_size = chunk_size
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=False)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Attend.

        Args:
            x (Tensor): Tokens ``(B, 1 + H * W, C)``, the class token first.
            size (tuple[int, int]): ``(H, W)`` of the grid.

        Returns:
            Tensor: Tokens ``(B, 1 + H * W, C)``.
        """
        batch, number, channels = x.shape
        q, k, v = (
            self.qkv(x)
            .view(batch, number, 3, self.num_heads, channels // self.num_heads)
            .permute(2, 0, 3, 1, 4)
        )
        window = self.window_size
        if window is None or max(size) <= window:
            out = _in_chunks(q, k, v, self.chunk_size)
        else:
            first = _in_chunks(q[:, :, :1], k, v, self.chunk_size)
            out = torch.cat([first, _windowed(q, k, v, size, window)], 2)
        return self.proj(out.transpose(1, 2).reshape(batch, number, channels))


def _in_chunks(q: Tensor, k: Tensor, v: Tensor, chunk_size: int | None) -> Tensor:
    if chunk_size is None or q.shape[2] <= chunk_size:
        return F.scaled_dot_product_attention(q, k, v)
    chunks = q.split(chunk_size, 2)
    return torch.cat([F.scaled_dot_product_attention(c, k, v) for c in chunks], 2)


def _windowed(
    q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int], window: int
) -> Tensor:
    """Attention of the patches ``(B, heads, H * W, d)`` within their windows."""
    batch, heads, _, width = q.shape
    down, right = (-s % window for s in size)
    grid = (size[0] + down) // window, (size[1] + right) // window

    def split(tokens: Tensor) -> Tensor:
        x = tokens.view(-1, *size, width)
        x = F.pad(x, (0, 0, 0, right, 0, down))
        x = x.view(-1, grid[0], window, grid[1], window, width).transpose(2, 3)
        return x.reshape(-1, grid[0] * grid[1], window * window, width)

    def with_class(tokens: Tensor) -> Tensor:
        patches = split(tokens[:, :, 1:].reshape(batch * heads, -1, width))
        first = tokens[:, :, :1].reshape(batch * heads, 1, 1, width)
        return torch.cat([first.expand(-1, patches.shape[1], -1, -1), patches], 2)

    queries = split(q[:, :, 1:].reshape(batch * heads, -1, width))
    mask = None
    if down or right:
        real = q.new_ones(size[0] * size[1], 1).expand(-1, width)
        real = split(real)[..., :1].transpose(2, 3) > 0
        mask = F.pad(real, (1, 0), value=True)
    out = F.scaled_dot_product_attention(
        queries, with_class(k), with_class(v), attn_mask=mask
    )
    out = out.view(-1, *grid, window, window, width).transpose(2, 3)
    out = out.reshape(batch * heads, grid[0] * window, grid[1] * window, width)
    out = out[:, : size[0], : size[1]]
    return out.reshape(batch, heads, size[0] * size[1], width)


class Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, embed_dims: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden)
        self.fc2 = nn.Linear(hidden, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, N, C)`` to ``(B, N, C)``."""
        return self.fc2(F.gelu(self.fc1(x)))


class TokenBlock(BaseModule):
    """Pre-norm transformer block: attention, then two linear layers.

    Args:
        embed_dims (int): Channels of a token.
        num_heads (int): Number of heads.
        mlp_ratio (float): Hidden channels per channel.
        drop_path_rate (float): Rate of stochastic depth.
        with_cp (bool): Save memory by checkpointing.
        **attention: Further arguments of :class:`TokenAttention`.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        mlp_ratio: float,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        **attention: int | None,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = TokenAttention(embed_dims, num_heads, **attention)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens ``(B, 1 + H * W, C)`` of a grid ``(H, W)`` to the same shape."""
        if self.with_cp and x.requires_grad:
            return checkpoint.checkpoint(self._forward, x, size, use_reentrant=False)
        return self._forward(x, size)

    def _forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x)))

"""The So-ViT (SoT) encoder of the transformer weights of DropCov."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmgcp.models.checks import check_wiring_around
from mmgcp.models.framework import loads_checkpoint
from mmgcp.registry import MODELS

from .token_attention import TokenBlock
from .token_embedding import VisualTokens
from .token_grid import interpolate_positions, rescale, sinusoidal_positions

STRIDE = 16
ARCHES: dict[str, dict[str, Any]] = {
    'deit-tiny': dict(embed_dims=240, num_layers=12, num_heads=4, mlp_ratio=2.5),
    'deit-small': dict(embed_dims=384, num_layers=12, num_heads=6, mlp_ratio=4),
    'deit-base': dict(embed_dims=768, num_layers=12, num_heads=12, mlp_ratio=4),
    't2t-14': dict(embed_dims=384, num_layers=14, num_heads=6, mlp_ratio=3),
    'small': dict(embed_dims=384, num_layers=14, num_heads=6, mlp_ratio=3.5),
    'base': dict(embed_dims=528, num_layers=24, num_heads=8, mlp_ratio=3),
}


@MODELS.register_module()
class SoViT(BaseModule):
    """Vision transformer with a convolutional token embedding.

    `So-ViT: Mind Visual Tokens for Vision Transformer
    <https://arxiv.org/abs/2104.10935>`_, the encoder behind the rows "DeiT-S" and
    "T2T-ViT-14" of DropCov: token embedding at stride 16, class token, fixed
    sinusoidal position embedding, pre-norm blocks without bias in ``qkv``, final
    norm. It needs no framework and is the same in all three.

    State-dict keys are those of the published files: ``cls_token``, ``pos_embed``,
    ``visual_tokens.tokens.{stem,stage,transition}.*``,
    ``blocks.{i}.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}.*`` and ``norm.*``.
    What they have beyond belongs to the pooling head: ``classifier.representation.wr``
    to the neck ``mmgcp.MultiHeadCrossCovariancePooling``, ``classifier.cls_fc`` and
    ``classifier.visual_fc`` to ``mmgcp.TokenFusionHead``.

    For dense tasks (``out_type='featmap'``) the levels are the outputs of the blocks
    ``out_indices``, at one, two, three and four quarters of the depth unless said
    otherwise, as segmentors on a ViT take them. Each goes through the final norm and
    is rescaled by ``scales`` to the strides 4, 8, 16, 32 of a pyramid, as ViTDet
    does, but by bilinear interpolation and max-pooling: the encoder then has no
    parameter that the file lacks. Use ``scales=(1, 1, 1, 1)`` to leave that to a
    learned neck.

    Args:
        arch (str | dict): ``'deit-tiny'``, ``'deit-small'``, ``'deit-base'``,
            ``'t2t-14'`` (published with DropCov), ``'small'``, ``'base'`` (So-ViT),
            or a dict with ``embed_dims, num_layers, num_heads, mlp_ratio``.
        img_size (int): Image size of pre-training, which sets the length of
            ``pos_embed``. For other sizes it is interpolated. Defaults to 224.
        out_type (str): ``'raw'`` returns one sequence ``(B, 1 + N, C)``, the class
            token first, for the pooling heads; ``'cls_token'`` its first token
            ``(B, C)``; ``'featmap'`` maps. Defaults to ``'raw'``.
        out_indices (Sequence[int] | int, optional): Blocks to return. Defaults to
            None: the last one, or four of them for ``'featmap'``.
        scales (Sequence[float]): Scale of each level of ``'featmap'``, a power of
            two. Defaults to (4, 2, 1, 0.5).
        official (bool): Token embedding without norms inside its dense blocks, as
            in all published weights (see :class:`VisualTokens`); False adds the
            batch norms the authors meant. Defaults to True, because the file
            decides: the two have different parameters.
        window_size (int, optional): Windowed attention in all blocks but
            ``global_blocks``, for large images. Images whose grid is not larger
            than the window are not affected. Defaults to None.
        global_blocks (Sequence[int], optional): Blocks that keep global attention.
            Defaults to None: the four at the quarters, as in ViTDet.
        chunk_size (int, optional): Queries worked on at a time. The result is the
            same, the memory bounded where torch has no fused kernel. Defaults to
            None.
        drop_path_rate (float): Stochastic depth of the last block. Defaults to 0.
        frozen_stages (int): 0 freezes token embedding, class token and positions,
            ``i`` the first ``i`` blocks as well, all of them and the final norm when
            it is their number, -1 nothing. Defaults to -1.
        norm_eval (bool): Keep the batch norms of the token embedding in evaluation
            mode. Defaults to False.
        with_cp (bool): Checkpoint the blocks to save memory. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialisation.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Note:
        Images are padded with zeros at the right and bottom to a multiple of 16, so
        that a level of stride s has ``ceil(ceil(H / 16) * 16 / s)`` rows.
    """

    def __init__(
        self,
        arch: str | dict = 'deit-small',
        img_size: int = 224,
        out_type: str = 'raw',
        out_indices: Sequence[int] | int | None = None,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        official: bool = True,
        window_size: int | None = None,
        global_blocks: Sequence[int] | None = None,
        chunk_size: int | None = None,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.arch = _arch(arch)
        self.embed_dims, depth = self.arch['embed_dims'], self.arch['num_layers']
        if out_type not in ('raw', 'cls_token', 'featmap'):
            raise ValueError(
                f"mmgcp.SoViT: out_type={out_type!r} is unknown, use 'raw', "
                "'cls_token' or 'featmap'"
            )
        if not -1 <= frozen_stages <= depth:
            raise ValueError(
                f'mmgcp.SoViT: frozen_stages={frozen_stages} is not in -1 .. {depth}'
            )
        quarters = [depth * i // 4 - 1 for i in (1, 2, 3, 4)]
        self.out_type = out_type
        if out_indices is None:
            out_indices = quarters if out_type == 'featmap' else [depth - 1]
        self.out_indices = _indices(out_indices, depth)
        self.scales = tuple(scales)
        if out_type == 'featmap' and len(self.scales) != len(self.out_indices):
            raise ValueError(
                f'mmgcp.SoViT: scales={self.scales} and out_indices='
                f'{self.out_indices} differ in length'
            )
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.visual_tokens = VisualTokens(self.embed_dims, official, with_cp)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.grid = (img_size // STRIDE, img_size // STRIDE)
        positions = sinusoidal_positions(
            1 + self.grid[0] * self.grid[1], self.embed_dims
        )
        self.register_buffer('pos_embed', positions)
        everywhere = quarters if global_blocks is None else global_blocks
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = ModuleList(
            TokenBlock(
                self.embed_dims,
                self.arch['num_heads'],
                self.arch['mlp_ratio'],
                drop_path_rate=rate,
                with_cp=with_cp,
                window_size=None if i in everywhere else window_size,
                chunk_size=chunk_size,
            )
            for i, rate in enumerate(rates)
        )
        self.norm = nn.LayerNorm(self.embed_dims)
        self._freeze_stages()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each output."""
        return (self.embed_dims,) * len(self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map of ``'featmap'``."""
        return tuple(int(STRIDE / scale) for scale in self.scales)

    def init_weights(self) -> None:
        """Initialise or load the weights; what loads has the last word."""
        check_wiring_around(self)
        if not loads_checkpoint(self.init_cfg):
            trunc_normal_(self.cls_token, std=0.02)
            for module in self.blocks.modules():
                if isinstance(module, nn.Linear):
                    trunc_normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        super().init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            x (Tensor): Images ``(B, 3, H, W)``.

        Returns:
            tuple[Tensor]: One output per entry of ``out_indices``, see ``out_type``.
        """
        height, width = x.shape[-2:]
        padding = (0, -width % STRIDE, 0, -height % STRIDE)
        x = self.visual_tokens(F.pad(x, padding))
        rows, columns = x.shape[-2:]
        size = (rows, columns)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = x + interpolate_positions(self.pos_embed, self.grid, size).to(x.dtype)
        outs: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x, size)
            if i in self.out_indices:
                outs.append(self._output(self.norm(x), size, len(outs)))
        return tuple(outs)

    def _output(self, x: Tensor, size: tuple[int, int], level: int) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, 0]
        grid = x[:, 1:].transpose(1, 2).unflatten(2, size)
        return rescale(grid.contiguous(), self.scales[level])

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        self.cls_token.requires_grad = False
        frozen = [self.visual_tokens, *self.blocks[: self.frozen_stages]]
        if self.frozen_stages == len(self.blocks):
            frozen.append(self.norm)
        for module in frozen:
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad = False

    def train(self, mode: bool = True) -> 'SoViT':
        """Set the mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def _arch(arch: str | dict) -> dict[str, Any]:
    if isinstance(arch, str):
        if arch not in ARCHES:
            raise ValueError(
                f'mmgcp.SoViT: arch={arch!r} is unknown, use one of '
                f'{", ".join(ARCHES)} or a dict'
            )
        return ARCHES[arch]
    needed = {'embed_dims', 'num_layers', 'num_heads', 'mlp_ratio'}
    if set(arch) != needed:
        raise ValueError(
            f'mmgcp.SoViT: arch has {sorted(arch)}, it needs exactly {sorted(needed)}'
        )
    return dict(arch)


def _indices(out_indices: Sequence[int] | int, depth: int) -> tuple[int, ...]:
    given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    if any(not -depth <= i < depth for i in given):
        raise ValueError(
            f'mmgcp.SoViT: out_indices={given} is out of range for {depth} blocks'
        )
    indices = tuple(i % depth for i in given)
    if list(indices) != sorted(set(indices)):
        raise ValueError(f'mmgcp.SoViT: out_indices={given} has to ascend')
    return indices

"""The So-ViT (SoT) encoder of the transformer weights of DropCov."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError
from mmgcp.utils.layer_depth import freeze_layers

from .sovit_layers import (
    TokenBlock,
    interpolate_positions,
    rescale,
    sinusoidal_positions,
    token_embedding,
)

STRIDE = 16
ARCHES: dict[str, dict[str, Any]] = {
    'deit-tiny': dict(embed_dims=240, num_layers=12, num_heads=4, mlp_ratio=2.5),
    'deit-small': dict(embed_dims=384, num_layers=12, num_heads=6, mlp_ratio=4),
    'deit-base': dict(embed_dims=768, num_layers=12, num_heads=12, mlp_ratio=4),
    't2t-14': dict(embed_dims=384, num_layers=14, num_heads=6, mlp_ratio=3),
    'small': dict(embed_dims=384, num_layers=14, num_heads=6, mlp_ratio=3.5),
    'base': dict(embed_dims=528, num_layers=24, num_heads=8, mlp_ratio=3),
}
OUT_TYPES = ('raw', 'cls_token', 'featmap')


@MODELS.register_module()
class SoViT(BaseModule):
    """Vision transformer with a convolutional token embedding.

    `So-ViT <https://arxiv.org/abs/2104.10935>`_, the encoder behind the rows "DeiT-S"
    and "T2T-ViT-14" of DropCov: token embedding at stride 16, class token, fixed
    sinusoidal position embedding, pre-norm blocks without bias in ``qkv``, final
    norm. It needs no framework. State-dict keys are those of the published files.

    For dense tasks (``out_type='featmap'``) the levels are the outputs of the blocks
    ``out_indices``. Each goes through the final norm and is rescaled by ``scales``
    to the strides 4, 8, 16, 32 of a pyramid, as ViTDet does, but by bilinear
    interpolation and max-pooling: the encoder then has no parameter that the file
    lacks. Use ``scales=(1, 1, 1, 1)`` to leave that to a learned neck.

    Args:
        arch: ``'deit-tiny'``, ``'deit-small'``, ``'deit-base'``, ``'t2t-14'``
            (published with DropCov), ``'small'``, ``'base'`` (So-ViT), or a dict with
            ``embed_dims, num_layers, num_heads, mlp_ratio``.
        img_size: Image size of pre-training in pixels, which sets the length of
            ``pos_embed``. For other sizes it is interpolated.
        out_type: ``'raw'`` returns one sequence ``(B, 1 + N, C)``, the class token
            first, for the pooling heads; ``'cls_token'`` its first token ``(B, C)``;
            ``'featmap'`` maps.
        out_indices: Blocks to return. By default the last one, or for ``'featmap'``
            those at one, two, three and four quarters of the depth.
        scales: Scale of each level of ``'featmap'``, a power of two.
        match_released_code: Token embedding without norms inside its dense blocks,
            as in all published weights. False adds the batch norms that the authors
            meant.
        drop_path_rate: Stochastic depth of the last block.
        frozen_stages: 0 freezes token embedding and class token, ``i`` the first
            ``i`` blocks as well, their number the final norm too, -1 nothing.
        norm_eval: Keep the batch norms of the token embedding in evaluation mode.
        with_cp: Checkpoint the blocks to save memory.

    Raises:
        ConfigValueError: An argument is unknown or out of range.

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
        match_released_code: bool = True,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = [  # noqa: B006
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='TruncNormal', layer='Linear', std=0.02),
            dict(type='Constant', layer='_BatchNorm', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        self.arch = _arch(arch)
        self.embed_dims, depth = self.arch['embed_dims'], self.arch['num_layers']
        if out_type not in OUT_TYPES:
            raise ConfigValueError(
                f'mmgcp.SoViT: out_type={out_type!r} is unknown, use one of '
                f'{", ".join(OUT_TYPES)}'
            )
        if not -1 <= frozen_stages <= depth:
            raise ConfigValueError(
                f'mmgcp.SoViT: frozen_stages={frozen_stages} is not in -1 .. {depth}'
            )
        if out_indices is None:
            quarters = [depth * i // 4 - 1 for i in (1, 2, 3, 4)]
            out_indices = quarters if out_type == 'featmap' else depth - 1
        self.out_type = out_type
        self.out_indices = _indices(out_indices, depth)
        self.scales = tuple(scales)
        if out_type == 'featmap' and len(self.scales) != len(self.out_indices):
            raise ConfigValueError(
                f'mmgcp.SoViT: scales={self.scales} and out_indices='
                f'{self.out_indices} differ in length: set one scale for each level'
            )
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.with_cp = with_cp
        self.visual_tokens = token_embedding(
            self.embed_dims, match_released_code, with_cp
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        trunc_normal_(self.cls_token, std=0.02)
        self.grid = (img_size // STRIDE, img_size // STRIDE)
        positions = sinusoidal_positions(1 + self.grid[0] ** 2, self.embed_dims)
        self.register_buffer('pos_embed', positions)
        self.blocks = nn.ModuleList(
            TokenBlock(
                self.embed_dims,
                self.arch['num_heads'],
                self.arch['mlp_ratio'],
                drop_path_rate * i / max(depth - 1, 1),
            )
            for i in range(depth)
        )
        self.norm = nn.LayerNorm(self.embed_dims)
        self._freeze_stages()

    @property
    def layer_names(self) -> list[str]:
        """Names of the blocks, from the first to the last."""
        return [f'blocks.{i}' for i in range(len(self.blocks))]

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each output."""
        return (self.embed_dims,) * len(self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map of ``'featmap'``."""
        return tuple(int(STRIDE / scale) for scale in self.scales)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(B, 3, H, W)`` to the outputs of ``out_indices``."""
        height, width = x.shape[-2:]
        x = self.visual_tokens(F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE)))
        size = (x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        x = x + interpolate_positions(self.pos_embed, self.grid, size).to(x.dtype)
        outs: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if self.with_cp and x.requires_grad:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
            if i in self.out_indices:
                outs.append(self.norm(x))
        if self.out_type == 'raw':
            return tuple(outs)
        if self.out_type == 'cls_token':
            return tuple(out[:, 0] for out in outs)
        grids = [out[:, 1:].transpose(1, 2).unflatten(2, size) for out in outs]
        # in this form, as torch 2.1 compiles no map or zip with arguments
        return tuple(
            rescale(grid.contiguous(), self.scales[i]) for i, grid in enumerate(grids)
        )

    def _freeze_stages(self) -> None:
        freeze_layers(self, self.layer_names, self.frozen_stages)
        if self.frozen_stages == len(self.blocks):
            self.norm.eval().requires_grad_(False)

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
            raise ConfigValueError(
                f'mmgcp.SoViT: arch={arch!r} is unknown, use one of '
                f'{", ".join(ARCHES)} or a dict'
            )
        return ARCHES[arch]
    needed = {'embed_dims', 'num_layers', 'num_heads', 'mlp_ratio'}
    if set(arch) != needed:
        raise ConfigValueError(
            f'mmgcp.SoViT: arch has {sorted(arch)}, it needs exactly {sorted(needed)}'
        )
    if arch['embed_dims'] % arch['num_heads']:
        raise ConfigValueError(
            f'mmgcp.SoViT: arch.embed_dims={arch["embed_dims"]} is not a multiple of '
            f'arch.num_heads={arch["num_heads"]}'
        )
    return dict(arch)


def _indices(out_indices: Sequence[int] | int, depth: int) -> tuple[int, ...]:
    given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    indices = [i + depth if i < 0 else i for i in given]
    if indices != sorted(set(indices).intersection(range(depth))):
        raise ConfigValueError(
            f'mmgcp.SoViT: out_indices={given} has to ascend within 0 .. {depth - 1}'
        )
    return tuple(indices)

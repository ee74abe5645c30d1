"""ResNet encoders pre-trained with global covariance pooling."""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from mmgcp.models.framework import FrameworkModule
from mmgcp.registry import MODELS
from mmgcp.utils.errors import ConfigValueError

LAST_STAGES = {
    'stride': 'strided convolution, total stride 32, as in pre-training with GAP',
    'maxpool': 'max-pooling before the stage, total stride 32',
    'native': 'no downsampling, total stride 16, as in pre-training with GCP',
}


@MODELS.register_module()
class GCPResNet(FrameworkModule):
    """ResNet of the framework in use, with a choice of last stage.

    In pre-training with global covariance pooling the last stage has stride 1, so
    that a 224 x 224 image gives 14 x 14 positions to the covariance. Detectors
    and segmentors expect a total stride of 32. How the encoder gets there
    (Section 4 of `this paper <https://arxiv.org/abs/2003.11241>`_) has no default:

    ============ ==================================== ============ ============
    last_stage   how                                  total stride strides[3]
    ============ ==================================== ============ ============
    ``stride``   strided convolution (GCP_D, GAP)     32           2
    ``maxpool``  max-pooling before the stage (GCP_M) 32           1
    ``native``   not at all, as in pre-training       16           1
    ============ ==================================== ============ ============

    The state-dict keys are those of the framework's ``ResNet`` in all three, and
    ``stride`` is that ``ResNet`` to the last bit. The dilated form of segmentation
    (``strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)``) is ``native``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        last_stage: See the table; left out with ``num_stages=3``.
        stem_pool: Whether the stem ends in max-pooling, as published. Small images
            keep twice the resolution without it.
        framework: ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``; by default the
            current default scope.
        **kwargs: All further arguments of that framework's ``ResNet``.

    Raises:
        ConfigValueError: ``last_stage`` is missing, unknown or contradicts
            ``strides`` or ``num_stages``.

    Note:
        The papers do not give the kernel of the max-pooling. Here it is 3 x 3 with
        padding 1 as in the stem: the maps then have the sizes of the strided form.
    """

    framework_base = 'ResNet'

    def __init__(
        self,
        depth: int,
        last_stage: str | None = None,
        stem_pool: bool = True,
        framework: str | None = None,
        **kwargs: Any,
    ) -> None:
        num_stages = kwargs.get('num_stages', 4)
        if num_stages == 4:
            kwargs['strides'] = _strides(last_stage, kwargs.get('strides'))
        elif last_stage is not None:
            raise ConfigValueError(
                f'mmgcp.GCPResNet: last_stage={last_stage!r} is about layer4, which '
                f'num_stages={num_stages} leaves out. Leave out last_stage as well'
            )
        super().__init__(depth, **kwargs)
        self.last_stage = last_stage
        self.stem_stride = 4 if stem_pool else 2
        if not stem_pool:
            self.maxpool = nn.Identity()
        if last_stage == 'maxpool':
            _pool_first(self.layer4)

    @property
    def layer_names(self) -> list[str]:
        """Names of the stages, from the first to the last."""
        return list(self.res_layers)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that :meth:`forward` returns."""
        last = self.num_stages - 1
        return tuple(self.feat_dim // 2 ** (last - i) for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map that :meth:`forward` returns."""
        stages = list(self.strides)
        if self.last_stage == 'maxpool':
            stages[3] *= 2
        stem = self.stem_stride
        return tuple(stem * math.prod(stages[: i + 1]) for i in self.out_indices)


def _pool_first(stage: nn.Sequential) -> None:
    """Put max-pooling in front of the blocks of a stage, which keep their names."""
    # Not a hook: torch.compile of torch 2.1 leaves hooks of inner modules out.
    blocks = list(stage.named_children())
    for name, _ in blocks:
        delattr(stage, name)
    stage.add_module('pool', nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    for name, block in blocks:
        stage.add_module(name, block)


def _strides(last_stage: str | None, given: Sequence[int] | None) -> Sequence[int]:
    """Strides of the four stages."""
    if last_stage not in LAST_STAGES:
        problem = ' is missing' if last_stage is None else f'={last_stage!r} is unknown'
        choices = '; '.join(f'{name!r}: {how}' for name, how in LAST_STAGES.items())
        raise ConfigValueError(
            f'mmgcp.GCPResNet: last_stage{problem}. It says how the last stage '
            f'gets to its stride. Set one of {choices}'
        )
    needed = 2 if last_stage == 'stride' else 1
    if given is None:
        return (1, 2, 2, needed)
    if given[-1] != needed:
        fitting = "'stride'" if given[-1] == 2 else "'native' or 'maxpool'"
        raise ConfigValueError(
            f'mmgcp.GCPResNet: strides={tuple(given)} contradict last_stage='
            f'{last_stage!r}, which needs strides[3]={needed}. Leave strides out, or '
            f'set last_stage={fitting}'
        )
    return given

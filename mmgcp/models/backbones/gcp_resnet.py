"""ResNet encoders pre-trained with global covariance pooling."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from mmgcp.models.framework import FrameworkModule, loads_checkpoint
from mmgcp.registry import MODELS

LAST_STAGES = ('stride', 'maxpool', 'native')


@MODELS.register_module()
class GCPResNet(FrameworkModule):
    """ResNet of the framework in use, with a choice of last stage.

    In pre-training with global covariance pooling the last stage has stride 1, so
    that a 224 x 224 image gives 14 x 14 positions to the covariance. Detectors
    and segmentors expect a total stride of 32. How the encoder gets there is a
    variable of every transfer experiment (GCP_D and GCP_M in `What Deep CNNs
    Benefit from Global Covariance Pooling <https://arxiv.org/abs/2003.11241>`_,
    Section 4):

    ============ ==================================== ============ ============
    last_stage   how                                  total stride strides[3]
    ============ ==================================== ============ ============
    ``stride``   strided convolution (GCP_D, GAP)     32           2
    ``maxpool``  max-pooling before the stage (GCP_M) 32           1
    ``native``   not at all, as in pre-training       16           1
    ============ ==================================== ============ ============

    The state-dict keys are those of the framework's ``ResNet`` in all three, and
    ``stride`` is that ``ResNet`` to the last bit. The dilated form of segmentation
    (``strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)``) has a last stage that keeps
    the resolution: it is ``native``.

    Args:
        depth (int): Depth of the network, from {18, 34, 50, 101, 152}.
        last_stage (str): ``'stride'``, ``'maxpool'`` or ``'native'``. Defaults to
            ``'stride'``.
        framework (str, optional): ``'mmdet'``, ``'mmseg'`` or ``'mmpretrain'``.
            Defaults to None, which means the current default scope.
        **kwargs: All further arguments of that framework's ``ResNet``.

    Raises:
        ValueError: If ``last_stage`` is unknown, contradicts ``strides`` or
            ``num_stages``, or no framework can be told.
        ImportError: If the framework is not installed.

    Note:
        The papers do not give the kernel of the max-pooling. It is 3 x 3 with
        stride 2 and padding 1 as in the stem of the network: the maps then have
        the sizes of the strided form for every input size.
    """

    framework_base = 'backbones.ResNet'
    zero_init_residual: bool

    def __init__(
        self,
        depth: int,
        last_stage: str = 'stride',
        framework: str | None = None,
        **kwargs: Any,
    ) -> None:
        strides = _strides(last_stage, kwargs.get('num_stages', 4), kwargs)
        if strides is not None:
            kwargs['strides'] = strides
        super().__init__(depth, **kwargs)
        self.last_stage = last_stage
        if last_stage == 'maxpool':
            _pool_first(self.layer4)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each map that :meth:`forward` returns."""
        expansion = getattr(self, 'expansion', None) or self.block.expansion
        return tuple(self.base_channels * expansion * 2**i for i in self.out_indices)

    @property
    def out_strides(self) -> tuple[int, ...]:
        """Stride of each map that :meth:`forward` returns."""
        stride, result = 4, []
        for i, step in enumerate(self.strides):
            stride *= step
            if i == 3 and self.last_stage == 'maxpool':
                stride *= 2
            result.append(stride)
        return tuple(result[i] for i in self.out_indices)

    def init_weights(self) -> None:
        """Initialise or load the weights.

        Whatever loads a checkpoint has the last word: mmpretrain's ``ResNet``
        would zero the last normalisation of each block after any initialiser
        that is not called ``Pretrained``.
        """
        zero_init = self.zero_init_residual
        self.zero_init_residual = zero_init and not loads_checkpoint(self.init_cfg)
        try:
            super().init_weights()
        finally:
            self.zero_init_residual = zero_init

    def extra_repr(self) -> str:
        return f'last_stage={self.last_stage!r}, framework={self.framework!r}'


def _pool_first(stage: nn.Sequential) -> None:
    """Put max-pooling in front of the blocks of a stage, which keep their names.

    Not a hook: torch.compile of torch 2.1 leaves hooks of inner modules out.
    """
    blocks = list(stage.named_children())
    for name, _ in blocks:
        delattr(stage, name)
    stage.add_module('pool', nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
    for name, block in blocks:
        stage.add_module(name, block)


def _strides(last_stage: str, num_stages: int, given: dict) -> Sequence[int] | None:
    """Strides of the stages, None to leave them to the framework."""
    if last_stage not in LAST_STAGES:
        raise ValueError(
            f'mmgcp.GCPResNet: last_stage={last_stage!r} is unknown. Use '
            "'stride' (strided convolution, total stride 32), 'maxpool' "
            "(max-pooling before the stage, total stride 32) or 'native' (total "
            'stride 16, as in pre-training)'
        )
    if num_stages < 4:
        if last_stage != 'stride':
            raise ValueError(
                f'mmgcp.GCPResNet: last_stage={last_stage!r} is about layer4, which '
                f"num_stages={num_stages} leaves out. Use last_stage='stride' or "
                'num_stages=4'
            )
        return given.get('strides')
    expected = 2 if last_stage == 'stride' else 1
    strides = given.get('strides')
    if strides is None:
        return (1, 2, 2, expected)
    if len(strides) == 4 and strides[3] != expected:
        fitting = "'stride'" if strides[3] == 2 else "'native' or 'maxpool'"
        raise ValueError(
            f'mmgcp.GCPResNet: strides={tuple(strides)} contradict '
            f'last_stage={last_stage!r}, which needs strides[3]={expected}. Leave '
            f'strides out, or use last_stage={fitting}'
        )
    return strides

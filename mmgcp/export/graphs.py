"""Models as functions of a picture: what an ONNX file will compute.

Every graph takes ``(B, 3, H, W)`` float32 RGB in 0 ... 255. Order of the channels and
normalisation are inside, so that nobody has to repeat them.
"""

import copy
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

from mmgcp.utils.config import framework_of

from .errors import ExportError

NO_OPERATOR = {
    'MatrixPower': 'its exact eigenvalues (linalg_eigh)',
    'MatrixLogarithm': 'its exact eigenvalues (linalg_eigh)',
}


class Normalize(nn.Module):
    """RGB pixels to what the encoder was trained on, from the data preprocessor."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        settings = {
            **(config.get('data_preprocessor') or {}),
            **(config.model.get('data_preprocessor') or {}),
        }
        self.swap = not (settings.get('bgr_to_rgb') or settings.get('to_rgb'))
        mean = settings.get('mean') or [0.0] * 3
        std = settings.get('std') or [1.0] * 3
        self.register_buffer('mean', torch.tensor(mean).float().view(1, -1, 1, 1))
        self.register_buffer('std', torch.tensor(std).float().view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` RGB in 0 ... 255 to the encoder's input."""
        if self.swap:
            image = image.flip(1)
        return (image - self.mean) / self.std


class FixedAdaptivePool(nn.Module):
    """Adaptive average pooling of maps of one size, as two matrix products.

    ONNX knows adaptive pooling only where the output divides the input; the pyramid
    pooling of UPerNet and PSPNet asks for more. The mean over ranges is linear, so
    that its matrices can be written down once the size is known.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        pair = output_size if isinstance(output_size, tuple) else (output_size,) * 2
        self.output_size = pair

    @staticmethod
    def matrix(inputs: int, outputs: int) -> Tensor:
        """Means over the ranges of adaptive pooling, ``(outputs, inputs)``."""
        matrix = torch.zeros(outputs, inputs)
        for i in range(outputs):
            start = i * inputs // outputs
            end = -(-(i + 1) * inputs // outputs)
            matrix[i, start:end] = 1 / (end - start)
        return matrix

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, *output_size)``."""
        height, width = int(x.shape[-2]), int(x.shape[-1])
        rows = self.matrix(height, self.output_size[0] or height).to(x)
        columns = self.matrix(width, self.output_size[1] or width).to(x)
        return rows @ x @ columns.t()


def with_fixed_pools(model: nn.Module) -> tuple[nn.Module, int]:
    """A copy of the model with :class:`FixedAdaptivePool`, and how many there are.

    Pooling to one position stays: ONNX has it as a global average.
    """
    model = copy.deepcopy(model)
    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.AdaptiveAvgPool2d and child.output_size not in (
                1,
                (1, 1),
            ):
                setattr(parent, name, FixedAdaptivePool(child.output_size))
                count += 1
    return model, count


def with_iterated_roots(model: nn.Module, iterations: int = 14) -> int:
    """Put the converged Newton-Schulz root where the exact square root is.

    ONNX has no eigenvalues. An eigenvalue below ``1.5 ** (-2 * iterations)`` of the
    trace, 1e-5 for 14 steps, comes out too small; more steps would raise the noise
    that rounding puts in place of zero eigenvalues. The comparison with PyTorch is
    with the exact root and decides whether it is close enough.

    Returns:
        How many were replaced.
    """
    from mmgcp.layers import MatrixPower, NewtonSchulz

    count = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is MatrixPower and child.alpha == 0.5:
                setattr(parent, name, NewtonSchulz(iterations))
                count += 1
    return count


class EncoderGraph(nn.Module):
    """Picture to the feature maps of the backbone, or of the neck behind it."""

    def __init__(self, normalize: Normalize, *modules: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.parts = nn.ModuleList(modules)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to the levels from fine to coarse."""
        value = self.normalize(image)
        for part in self.parts:
            value = part(value)
        return _flat(value)


class ClassifierGraph(nn.Module):
    """Picture to logits ``(B, K)``."""

    def __init__(self, normalize: Normalize, model: nn.Module) -> None:
        super().__init__()
        self.normalize, self.model = normalize, model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to the logits."""
        return _flat(self.model(self.normalize(image), mode='tensor'))


class SegmenterGraph(nn.Module):
    """Picture to logits ``(B, K, H, W)`` at the size of the picture."""

    def __init__(self, normalize: Normalize, model: nn.Module) -> None:
        super().__init__()
        self.normalize, self.model = normalize, model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to the logits of every pixel."""
        head: Any = self.model.decode_head
        logits = head(self.model.extract_feat(self.normalize(image)))
        return (
            F.interpolate(
                logits,
                size=image.shape[-2:],
                mode='bilinear',
                align_corners=head.align_corners,
            ),
        )


class DenseDetectorGraph(nn.Module):
    """Picture to the raw maps of a one-stage detector, before boxes and NMS."""

    def __init__(self, normalize: Normalize, model: nn.Module) -> None:
        super().__init__()
        self.normalize, self.model = normalize, model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to scores of every level, then boxes of every level."""
        return _flat(
            self.model.bbox_head(self.model.extract_feat(self.normalize(image)))
        )


def _flat(value) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    return tuple(tensor for item in value for tensor in _flat(item))


def check_operators(model: nn.Module) -> None:
    """Refuse what ONNX has no operator for, before the exporter does.

    Raises:
        ExportError: Names the module and a way out.
    """
    for name, module in model.named_modules():
        why = NO_OPERATOR.get(type(module).__name__)
        if why:
            raise ExportError(
                f'not supported because ONNX has no operator for what '
                f'{type(module).__name__} ({name}) computes: {why}. Export the encoder '
                '(--part encoder), or train with '
                "normalization=dict(type='NewtonSchulz')"
            )


def whole_model_graph(config: Config, model: nn.Module) -> tuple[nn.Module, list[str]]:
    """The graph of a classifier, a segmenter or a one-stage detector.

    Returns:
        The graph and the names of its outputs, without numbers.

    Raises:
        ExportError: The model has no form that ONNX can hold; says why.
    """
    normalize = Normalize(config)
    scope, kind = framework_of(config), type(model).__name__
    instead = (
        'Export the encoder (--part encoder) or encoder and neck (--part features)'
    )
    if scope == 'mmpretrain':
        return ClassifierGraph(normalize, model), ['logits']
    if scope == 'mmseg':
        if kind != 'EncoderDecoder':
            raise ExportError(
                f'not supported because {kind} runs its heads in turn on each '
                f"other's results; only EncoderDecoder is one function. {instead}"
            )
        return SegmenterGraph(normalize, model), ['logits']
    from mmdet.models.detectors import SingleStageDetector

    if isinstance(model, SingleStageDetector) and hasattr(model, 'bbox_head'):
        return DenseDetectorGraph(normalize, model), ['map']
    raise ExportError(
        f'not supported because {kind} pools regions whose number depends on the '
        'picture (RoIAlign, NMS): mmdet has no ONNX form of it, and MMDeploy, which '
        f'rewrites it, exists for the original stack only. {instead}'
    )

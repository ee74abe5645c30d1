"""Models as functions of a picture: what an ONNX file computes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn import functional as F

from mmgcp.layers import CholTMLR, MatrixLogarithm, MatrixPower, NewtonSchulz
from mmgcp.utils.config import framework_of
from mmgcp.utils.errors import UserError
from mmgcp.visualization.predictor import preprocessor_of
from mmgcp.weights.trained_model import load_trained_encoder, load_trained_model

ITERATIONS = 14  # of the Newton-Schulz root in place of the exact one


class Graph(nn.Module):
    """A model as a function of RGB pictures ``(B, 3, H, W)``, float32 in 0 ... 255.

    Order of the channels and normalization, those of ``config``, are inside.
    ``answer`` computes the outputs from the model and the normalized picture.
    """

    def __init__(self, config: Config, model: nn.Module, answer: Callable) -> None:
        super().__init__()
        settings = preprocessor_of(config)
        self.model, self.answer = model, answer
        self.swap = not (settings.get('bgr_to_rgb') or settings.get('to_rgb'))
        for name, default in (('mean', 0.0), ('std', 1.0)):
            values = torch.tensor(settings.get(name) or [default] * 3).float()
            self.register_buffer(name, values.view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map ``(B, 3, H, W)`` to all outputs, flattened."""
        image = image.flip(1) if self.swap else image
        return _flat(self.answer(self.model, (image - self.mean) / self.std))


def _flat(value: Any) -> tuple[Tensor, ...]:
    if isinstance(value, Tensor):
        return (value,)
    return tuple(tensor for item in value for tensor in _flat(item))


def _pixel_logits(model: Any, image: Tensor) -> Tensor:
    """Logits ``(B, K, H, W)`` at the size of the picture."""
    logits = model.decode_head(model.extract_feat(image))
    corners, size = model.align_corners, image.shape[-2:]
    return F.interpolate(logits, size=size, mode='bilinear', align_corners=corners)


def _raw_maps(model: Any, image: Tensor) -> Any:
    """Scores of every level, then boxes of every level, before decoding and NMS."""
    return model.bbox_head(model.extract_feat(image))


def load_graph(
    config: Config, checkpoint: str | Path, part: str, trust: bool = False
) -> tuple[Graph, str]:
    """Load a part of a model as a graph; also gives the name of its outputs."""
    if part == 'encoder':
        encoder = load_trained_encoder(config, checkpoint, trust)
        return Graph(config, encoder, nn.Module.__call__), 'feature'
    model: Any = load_trained_model(config, checkpoint, 'cpu', trust)
    if part == 'features':
        return Graph(config, model, lambda m, x: m.extract_feat(x)), 'feature'
    scope, kind = framework_of(config), type(model).__name__
    if scope == 'mmpretrain':
        return Graph(config, model, lambda m, x: m(x, mode='tensor')), 'logits'
    if scope == 'mmseg' and kind == 'EncoderDecoder':
        return Graph(config, model, _pixel_logits), 'logits'
    if scope == 'mmdet':
        from mmdet.models.detectors import SingleStageDetector

        if isinstance(model, SingleStageDetector):
            return Graph(config, model, _raw_maps), 'map'
    raise UserError(
        f'{config.filename}: {kind} is not supported because ONNX has no form of it: '
        'its heads run in turn, or on regions whose number depends on the picture. '
        'Export the encoder (--part encoder) or encoder and neck (--part features)'
    )


class FixedAdaptivePool(nn.AdaptiveAvgPool2d):
    """Adaptive average pooling of maps of one size, as slices and means.

    ONNX has adaptive pooling only where the output divides the input.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, *output_size)``."""
        size: Any = self.output_size
        pair = size if isinstance(size, tuple) else (size, size)
        for dim, count in zip((-2, -1), pair, strict=True):
            length = int(x.shape[dim])
            starts = [i * length // count for i in range(count)]
            ends = [-(-(i + 1) * length // count) for i in range(count)]
            parts = [x.narrow(dim, a, b - a) for a, b in zip(starts, ends, strict=True)]
            x = torch.cat([part.mean(dim, keepdim=True) for part in parts], dim)
        return x


def traceable(graph: nn.Module) -> tuple[nn.Module, int]:
    """A copy of a graph with operators that ONNX has, or an error.

    Exact square roots become converged Newton-Schulz roots, because ONNX has no
    eigenvalues. An eigenvalue below ``1.5 ** (-2 * ITERATIONS)`` of the trace, 1e-5,
    comes out too small. The comparison with PyTorch decides whether that matters. The
    other result is the number of poolings that fix the size of the picture.
    """
    graph, pools = copy.deepcopy(graph), 0
    for parent in list(graph.modules()):
        for name, child in list(parent.named_children()):
            # Pooling to one position stays: ONNX has it as a global average.
            if type(child) is nn.AdaptiveAvgPool2d:
                if child.output_size not in (1, (1, 1)):
                    setattr(parent, name, FixedAdaptivePool(child.output_size))
                    pools += 1
            elif isinstance(child, MatrixPower) and child.alpha == 0.5:
                setattr(parent, name, NewtonSchulz(ITERATIONS))
            elif isinstance(child, MatrixPower | MatrixLogarithm | CholTMLR):
                raise UserError(
                    f'{child} is not supported because ONNX has no eigenvalues '
                    'and no Cholesky factors. Export the encoder (--part encoder), or '
                    "train with normalization=dict(type='NewtonSchulz')"
                )
    return graph, pools

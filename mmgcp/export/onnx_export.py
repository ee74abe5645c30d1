"""ONNX files that are written only when they answer as PyTorch does."""

import inspect
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mmgcp.utils.config import innermost_dataset, load_config, required
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import file_sha256, replacing
from mmgcp.version import __version__
from mmgcp.visualization.drawing import resize
from mmgcp.visualization.files import find_images, read_image
from mmgcp.visualization.predictor import preprocessor_of
from mmgcp.weights.files import local_file
from mmgcp.weights.trained_model import NO_CHECKPOINT

from .graphs import load_graph, traceable

OPSET = 17
LARGER = 'random, larger'


def input_size(config: Config) -> tuple[int, int]:
    """``(H, W)`` that a config tests with; an error when it names no size."""
    found = preprocessor_of(config).get('size')
    dataset = innermost_dataset((config.get('test_dataloader') or {}).get('dataset'))
    for step in () if found else dataset.get('pipeline') or ():
        if step.get('crop_size'):
            found = step['crop_size']
        elif step.get('scale'):
            scale = step['scale']  # (W, H)
            found = scale if isinstance(scale, int) else tuple(scale)[::-1]
    if not found:
        raise UserError(
            f'{config.filename} does not say which size it tests with; give it: '
            '--size HEIGHT WIDTH'
        )
    return (found, found) if isinstance(found, int) else (int(found[0]), int(found[1]))


def real_images(source: str | Path | None, height: int, width: int) -> dict:
    """Up to four pictures ``(1, 3, H, W)`` by name; without a source scikit-learn's."""
    if source is None:
        from sklearn.datasets import load_sample_images

        sample = load_sample_images()
        pictures = dict(zip(map(Path, sample.filenames), sample.images, strict=True))
    else:
        pictures = {path: read_image(path) for path in find_images(Path(source))[:4]}
    return {
        path.name: resize(picture, width, height, True).transpose(2, 0, 1)[None]
        for path, picture in pictures.items()
    }


def export_onnx(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    part: str = 'model',
    size: Sequence[int] | None = None,
    free_size: bool = False,
    images: str | Path | None = None,
    tolerance: float = 1e-3,
    options: dict[str, Any] | None = None,
    trust: bool = False,
) -> tuple[dict[str, tuple], dict[str, float]]:
    """Write a model as ONNX, after comparing it with PyTorch.

    Args:
        checkpoint: ``'none'`` exports random weights; an encoder file is enough for
            ``part='encoder'``.
        part: ``'model'``, ``'encoder'`` or ``'features'`` (encoder and neck).
        size: Height and width of the picture; the config's test size by default.
        free_size: Leave height and width open in the file.
        images: Pictures to check with; scikit-learn's two photographs by default.

    Returns:
        Shape of the input and of each output by name; for each checked picture the
        largest difference over the largest value, which ``tolerance`` limits.
    """
    import onnx
    import onnxruntime

    out = Path(out)
    if out.suffix != '.onnx':
        raise UserError(f'{out}: end the name in .onnx')
    settings = load_config(config, options)
    required(settings, 'model')
    height, width = size or input_size(settings)
    inputs = real_images(images, height, width)
    random = np.random.default_rng(0)
    inputs['random'] = random.uniform(0, 255, (2, 3, height, width))
    if free_size:
        inputs[LARGER] = random.uniform(0, 255, (1, 3, height + 32, width + 64))
    inputs = {label: value.astype(np.float32) for label, value in inputs.items()}

    # What is compared is the model itself; what is traced is a copy.
    reference, name = load_graph(settings, checkpoint, part, trust)
    traced, pools = traceable(reference)
    if pools and free_size:
        raise UserError(
            f'--free-size: the model pools to fixed grids ({pools} times), which ONNX '
            'has for one size only; leave the option out'
        )
    example = torch.from_numpy(inputs['random'])
    with torch.no_grad():
        shapes = [(1, *output.shape[1:]) for output in reference.eval()(example)]
    names = [f'{name}{i}' for i in range(len(shapes))] if len(shapes) > 1 else [name]
    with replacing(out) as file:
        try:
            _trace(traced.eval(), example, file, names, free_size)
        except RuntimeError as error:  # the base class of the exporter's errors
            raise UserError(
                f'{config}: torch {torch.__version__} cannot write this {part} as ONNX: '
                f'{str(error).strip().partition(chr(10))[0]}'
            ) from error
        model = onnx.load(str(file))
        meta = {'part': part, 'config': Path(config).name, 'mmgcp_version': __version__}
        meta['input'] = 'RGB, 0 to 255, float32; normalization is inside'
        if str(checkpoint) != NO_CHECKPOINT:
            meta['checkpoint_sha256'] = file_sha256(local_file(checkpoint))
        onnx.helper.set_model_props(model, meta)
        onnx.checker.check_model(model)
        onnx.save(model, str(file))
        cpu = ['CPUExecutionProvider']
        session = onnxruntime.InferenceSession(str(file), providers=cpu)
        differences = {k: _difference(reference, session, v) for k, v in inputs.items()}
        wrong = {k: v for k, v in differences.items() if not v <= tolerance}
        if wrong:
            shown = ', '.join(f'{label}: {value:.2g}' for label, value in wrong.items())
            hint = '; leave out --free-size' if LARGER in wrong else ''
            raise UserError(
                f'{config}: onnxruntime and PyTorch differ by more than {tolerance:g} '
                f'of the largest value ({shown}); nothing was written{hint}'
            )
    shapes = [(1, 3, height, width), *shapes]
    return dict(zip(['image', *names], shapes, strict=True)), differences


def _trace(
    graph: nn.Module, example: torch.Tensor, file: Path, names: list[str], free: bool
) -> None:
    axes = {0: 'batch', **({2: 'height', 3: 'width'} if free else {})}
    # The covariance layers have a plain form for the TorchScript tracer. torch 2.1 has
    # no other exporter; newer torch has to be asked for it.
    new = 'dynamo' in inspect.signature(torch.onnx.export).parameters
    tracer: dict[str, Any] = {'dynamo': False} if new else {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph,
            (example,),
            str(file),
            input_names=['image'],
            output_names=names,
            opset_version=OPSET,
            dynamic_axes={'image': axes, **{name: {0: 'batch'} for name in names}},
            **tracer,
        )


def _difference(graph: nn.Module, session: Any, image: np.ndarray) -> float:
    """Largest difference of any output over the largest value of that output."""
    with torch.no_grad():
        ours = [output.numpy() for output in graph(torch.from_numpy(image))]
    pairs = list(zip(ours, session.run(None, {'image': image}), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return float('inf')
    worst = [np.abs(a - b).max() / max(np.abs(a).max(), 1e-12) for a, b in pairs]
    return float(np.max(worst))  # NaN stays NaN

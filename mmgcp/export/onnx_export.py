"""ONNX files that are written only when they answer as PyTorch does."""

import inspect
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mmgcp.utils.config import load_config, required
from mmgcp.version import __version__
from mmgcp.visualization.files import find_images, read_image, replacing
from mmgcp.weights.files import file_sha256, local_file
from mmgcp.weights.trained_model import (
    NO_CHECKPOINT,
    load_trained_encoder,
    load_trained_model,
)

from .errors import ExportError
from .graphs import (
    EncoderGraph,
    Normalize,
    check_operators,
    whole_model_graph,
    with_fixed_pools,
    with_iterated_roots,
)

LARGER = 'random, larger'
PARTS = ('model', 'encoder', 'features')


@dataclass
class Export:
    """What was written and how well it agrees.

    Attributes:
        path: The ONNX file.
        size: ``(H, W)`` of the picture it takes.
        outputs: Name and shape of each output for a batch of one.
        differences: For each checked input, the largest difference of any output
            divided by the largest value of that output.
    """

    path: Path
    size: tuple[int, int]
    outputs: dict[str, tuple[int, ...]]
    differences: dict[str, float] = field(default_factory=dict)


def input_size(config: Any, images: str | Path | None = None) -> tuple[int, int]:
    """``(H, W)`` that a config tests with, or else that of the first picture.

    Raises:
        ExportError: The config says nothing of sizes and there is no picture.
    """
    preprocessor = {
        **(config.get('data_preprocessor') or {}),
        **(config.model.get('data_preprocessor') or {}),
    }
    found = preprocessor.get('size')
    if not found:
        from mmgcp.utils.config import innermost_dataset

        dataset = innermost_dataset(config.get('test_dataloader', {}).get('dataset'))
        for step in (dataset or {}).get('pipeline') or []:
            kind = step['type'].rpartition('.')[2]
            if kind == 'CenterCrop':
                found = step.get('crop_size')
            elif kind == 'Resize' and step.get('scale'):
                scale = step['scale']
                found = scale[::-1] if isinstance(scale, list | tuple) else scale
    if not found and images is not None:
        found = read_image(find_images(Path(images))[0]).shape[:2]
    if not found:
        raise ExportError(
            f'{config.filename} does not say which size it tests with; give it '
            '(--size HEIGHT WIDTH) or a picture of that size (--images)'
        )
    return (found, found) if isinstance(found, int) else (int(found[0]), int(found[1]))


def real_images(source: str | Path | None, size: tuple[int, int], count: int) -> dict:
    """Pictures as ``(1, 3, H, W)`` float32 by name: those given, or two photographs.

    The photographs are those that scikit-learn brings along.
    """
    from PIL import Image

    if source is not None:
        pictures = {p.name: read_image(p) for p in find_images(Path(source))[:count]}
    else:
        from sklearn.datasets import load_sample_images

        sample = load_sample_images()
        names = [Path(name).name for name in sample.filenames]
        pictures = dict(zip(names, sample.images, strict=True))
    inputs = {}
    for name, picture in pictures.items():
        resized = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(resized, np.float32).transpose(2, 0, 1)[None]
        inputs[name] = np.ascontiguousarray(pixels)
    return inputs


def _trace(
    graph: nn.Module,
    example: Tensor,
    path: Path,
    names: list[str],
    opset: int,
    free: bool,
) -> None:
    axes = {0: 'batch', **({2: 'height', 3: 'width'} if free else {})}
    kwargs: dict[str, Any] = dict(
        input_names=['image'],
        output_names=names,
        opset_version=opset,
        dynamic_axes={
            'image': axes,
            **{name: {0: 'batch'} for name in names},
        },
        do_constant_folding=True,
    )
    # The covariance layers write their plain form for the tracer (torch >= 2.1 has
    # it); newer torch calls it by this argument.
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters:
        kwargs['dynamo'] = False
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.onnx.export(graph, (example,), str(path), **kwargs)


def _compare(
    graph: nn.Module, session: Any, inputs: dict[str, np.ndarray], names: list[str]
) -> dict[str, float]:
    differences = {}
    for label, value in inputs.items():
        with torch.no_grad():
            expected = [out.numpy() for out in graph(torch.from_numpy(value))]
        found = session.run(names, {'image': value})
        worst = 0.0
        for name, ours, theirs in zip(names, expected, found, strict=True):
            if ours.shape != theirs.shape:
                raise ExportError(
                    f'output {name} of {label} has shape {theirs.shape} in ONNX and '
                    f'{ours.shape} in PyTorch'
                )
            scale = max(float(np.abs(ours).max()), 1e-12)
            worst = max(worst, float(np.abs(ours - theirs).max()) / scale)
        differences[label] = worst
    return differences


def export_onnx(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    part: str = 'model',
    size: Sequence[int] | None = None,
    free_size: bool = False,
    images: str | Path | None = None,
    opset: int = 17,
    tolerance: float = 1e-3,
    options: dict[str, Any] | None = None,
    trust: bool = False,
    seed: int = 0,
) -> Export:
    """Write a model as ONNX, after comparing it with PyTorch.

    Args:
        config: Config of a classifier, a segmenter or a detector.
        checkpoint: Checkpoint of the whole model; for ``part='encoder'`` also an
            encoder file. ``'none'`` exports random weights.
        out: The file, ending in ``.onnx``.
        part: ``'model'``, ``'encoder'`` (the backbone) or ``'features'`` (backbone
            and neck).
        size: Height and width of the picture; the config's test size by default.
        free_size: Leave height and width open in the file.
        images: Pictures to check with; scikit-learn's two photographs by default.
        opset: Version of ONNX's operators.
        tolerance: Largest difference that is accepted, over the largest value.

    Raises:
        ExportError: ONNX cannot hold the model, or it answers differently.
        UserError: Config, checkpoint or pictures do not fit.
    """
    import onnx
    import onnxruntime

    out = Path(out)
    if out.suffix != '.onnx':
        raise ExportError(f'{out}: end the name in .onnx')
    if part not in PARTS:
        raise ExportError(f'part={part!r} is none of {", ".join(PARTS)}')
    settings = load_config(config, options)
    required(settings, 'model')
    height, width = size or input_size(settings, images)
    inputs = real_images(images, (height, width), count=4)
    random = np.random.default_rng(seed)
    shape = (2, 3, height, width)
    inputs['random'] = random.uniform(0, 255, shape).astype(np.float32)
    if free_size:
        shape = (1, 3, height + 32, width + 64)
        inputs[LARGER] = random.uniform(0, 255, shape).astype(np.float32)

    # What is compared with is the model itself; what is traced may be a copy.
    reference, names = _graph(settings, checkpoint, part, trust)
    traced, pools = with_fixed_pools(reference)
    if pools and free_size:
        raise ExportError(
            f'--free-size: the model pools to fixed grids ({pools} times), which ONNX '
            'has for one size only; leave the option out'
        )
    with_iterated_roots(traced)
    check_operators(traced)
    example = torch.from_numpy(inputs['random'])
    with torch.no_grad():
        results = reference.eval()(example)
    names = names * len(results) if len(names) == 1 else names
    if len(results) > 1:
        names = [f'{name}{i}' for i, name in enumerate(names)]
    with replacing(out) as temporary:
        try:
            with torch.no_grad():
                _trace(traced.eval(), example, temporary, names, opset, free_size)
        except Exception as error:
            if isinstance(error, OSError):
                raise
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise ExportError(
                f'not supported because torch {torch.__version__} cannot write '
                f'{part} of {config} as ONNX: {first[0]}'
            ) from error
        _describe(temporary, settings, checkpoint, part)
        onnx.checker.check_model(str(temporary))
        session = onnxruntime.InferenceSession(
            str(temporary), providers=['CPUExecutionProvider']
        )
        differences = _compare(reference, session, inputs, names)
        wrong = {k: v for k, v in differences.items() if not v <= tolerance}
        if wrong:
            shown = ', '.join(f'{name}: {value:.2g}' for name, value in wrong.items())
            if set(wrong) == {LARGER}:
                raise ExportError(
                    f'--free-size: a layer of {config} keeps the size it was written '
                    f'with ({shown}); leave the option out'
                )
            raise ExportError(
                f'onnxruntime and PyTorch differ by more than {tolerance:g} of the '
                f'largest value ({shown}); nothing was written'
            )
    shapes = {n: (1, *r.shape[1:]) for n, r in zip(names, results, strict=True)}
    return Export(out, (height, width), shapes, differences)


def _graph(settings: Any, checkpoint, part: str, trust: bool):
    if part == 'encoder':
        encoder = load_trained_encoder(settings, checkpoint, trust)
        return EncoderGraph(Normalize(settings), encoder), ['feature']
    model = load_trained_model(settings, checkpoint, 'cpu', trust)
    if part == 'features':
        neck = getattr(model, 'neck', None)
        backbone = cast(nn.Module, model.backbone)
        modules = [backbone] + ([neck] if isinstance(neck, nn.Module) else [])
        return EncoderGraph(Normalize(settings), *modules), ['feature']
    return whole_model_graph(settings, model)


def _describe(path: Path, settings: Any, checkpoint: str | Path, part: str) -> None:
    """Put into the file what it is, where it came from and what it expects."""
    import onnx

    model = onnx.load(str(path))
    meta = {
        'part': part,
        'config': Path(settings.filename).name,
        'checkpoint': Path(str(checkpoint)).name,
        'input': 'RGB, 0 to 255, float32; normalisation is inside',
        'mmgcp_version': __version__,
        'torch_version': str(torch.__version__),
    }
    if str(checkpoint) != NO_CHECKPOINT:
        meta['checkpoint_sha256'] = file_sha256(local_file(checkpoint))
    classes = (settings.get('metainfo') or {}).get('classes')
    if classes:
        meta['classes'] = json.dumps(list(classes))
    for key, value in meta.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))

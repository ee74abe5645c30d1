"""Parameters, multiply-adds and activation memory of a model, part by part.

Multiply-adds are counted from the operators that one forward pass runs, so a
covariance, every product of a Newton-Schulz iteration and an eigendecomposition
are in it, whatever module they hide in. The image is a real one of the test set,
or noise of a given size; a two-stage detector's count depends on its proposals,
so their number is in the output. Activation memory is what autograd keeps for the
backward pass of that forward pass, in training mode, without the loss, per image.

For a classifier the same encoder is also counted under every pooling head.
"""

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .flops import count_flops, count_kept_bytes
from .head_costs import pooling_heads
from mmgcp.engine.loss import prepare
from mmgcp.utils.files import write_json
from .output import colour, figure, save_figure
from mmgcp.engine.distributed import gather, is_main, mine
from mmgcp.utils.progress import progress
from mmgcp.utils.random_state import seeded
from .runs import Run, RunSpec, load_run, sample_batches


def complexity(
    specs: Sequence[RunSpec],
    out: str | Path,
    shape: tuple[int, int] | None = None,
    reduced_channels: int | None = None,
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
) -> dict:
    """Count every run and compare them in one picture.

    With several processes the runs are split among them.

    Args:
        specs (Sequence[RunSpec]): The runs; a checkpoint changes nothing but a
            detector's proposals, so ``'none'`` will do.
        out (str | Path): Folder of ``complexity.json`` and ``complexity.png``.
        shape (tuple[int, int], optional): Height and width of a noise image.
            Defaults to an image of the test set.
        reduced_channels (int, optional): Channels in front of the covariance
            in the table of pooling heads. Defaults to those of the model's own
            head, or 64.
        seed (int): Seed of image and initialisation.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.

    Returns:
        dict: What ``complexity.json`` holds.
    """
    rows = []
    with progress() as bar:
        task = bar.add_task('complexity', total=len(mine(specs)))
        for spec in mine(specs):
            start = time.perf_counter()
            run = load_run(spec, options, device, seed)
            row = measure(run, shape, reduced_channels, seed)
            seconds = time.perf_counter() - start
            rows.append({**run.describe(), **row, 'seconds': seconds})
            bar.advance(task)
    rows = gather(rows)
    result = {
        'analysis': 'complexity',
        'counted': 'convolutions, matrix products, eigendecompositions; one '
        'multiply-add is one',
        'runs': rows,
    }
    if is_main():
        write_json(Path(out) / 'complexity.json', result)
        save_figure(draw(rows), Path(out) / 'complexity.png')
    return result


def measure(
    run: Run,
    shape: tuple[int, int] | None,
    reduced_channels: int | None,
    seed: int,
) -> dict[str, Any]:
    """Count one model on one image."""
    model = run.model
    parts = dict(model.named_children())
    parts.pop('data_preprocessor', None)
    inputs, samples = one_image(run, shape, seed)
    proposals: list[int] = []
    with torch.no_grad():
        call = forward_call(run, inputs, samples, proposals)
        flops, flops_of = count_flops(call, parts)
    model.train().requires_grad_(True)
    # Batch norm refuses a single value per channel, so training needs two.
    double = torch.cat([inputs, inputs]), samples and samples + copy.deepcopy(samples)
    with seeded(seed):
        call = forward_call(run, *double, [])
        kept, kept_of = count_kept_bytes(call, model, parts)
    kept //= 2
    kept_of = {name: value // 2 for name, value in kept_of.items()}
    model.eval()
    image = list(inputs.shape)
    parameters = sum(p.numel() for p in model.parameters())
    row: dict[str, Any] = {
        'image': image,
        'parameters': parameters,
        'multiply_adds': flops // 2,
        'activation_bytes': kept,
        'parts': {
            name: {
                'parameters': sum(p.numel() for p in part.parameters()),
                'multiply_adds': flops_of[name] // 2,
                'activation_bytes': kept_of[name],
            }
            for name, part in parts.items()
        },
    }
    row['parts']['rest'] = {
        'parameters': parameters - sum(p['parameters'] for p in row['parts'].values()),
        'multiply_adds': flops // 2 - sum(flops_of.values()) // 2,
        'activation_bytes': kept - sum(kept_of.values()),
    }
    if proposals:
        row['proposals'] = proposals[0]
    if run.scope == 'mmpretrain':
        row['pooling_heads'] = pooling_heads(run, image, reduced_channels)
    return row


def one_image(
    run: Run, shape: tuple[int, int] | None, seed: int
) -> tuple[Tensor, list | None]:
    """An image ``(1, 3, H, W)``, and its sample where a detector wants one."""
    if shape is None:
        batch = sample_batches(run, 'test', 1, 1, seed, shared=False).batches[0]
        data = prepare(run.model, batch)
        return data['inputs'], data['data_samples']
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(1, 3, *shape, generator=generator).to(run.device)
    return inputs, [_detection_sample(shape)] if run.scope == 'mmdet' else None


def forward_call(
    run: Run, inputs: Tensor, samples: list | None, proposals: list[int]
) -> Callable[[], Any]:
    """A forward pass without loss and post-processing.

    Args:
        run (Run): Its model is run.
        inputs (Tensor): ``(B, 3, H, W)``.
        samples (list, optional): Data samples of a detector.
        proposals (list[int]): Receives the number of proposals per image of a
            two-stage detector.
    """
    model = run.model
    if run.scope != 'mmdet':
        return lambda: model(inputs, mode='tensor')
    if getattr(model, 'rpn_head', None) is None:
        return lambda: model(inputs, samples, mode='tensor')
    return _two_stage(model, inputs, samples, proposals)


def _two_stage(
    model: nn.Module, inputs: Tensor, samples: list | None, proposals: list[int]
) -> Callable[[], Any]:
    def call() -> Any:
        features = model.extract_feat(inputs)
        with_rpn = model.rpn_head.predict(features, samples, rescale=False)
        proposals[:] = map(len, with_rpn)
        return model.roi_head.forward(features, with_rpn, samples)

    return call


def _detection_sample(shape: tuple[int, int]):
    from mmdet.structures import DetDataSample

    meta = {
        'img_shape': shape,
        'ori_shape': shape,
        'pad_shape': shape,
        'batch_input_shape': shape,
        'scale_factor': (1.0, 1.0),
    }
    return DetDataSample(metainfo=meta)


def draw(rows: Sequence[dict]):
    """Stacked bars per part: parameters, multiply-adds, activation memory."""
    fig, axes = figure(3)
    titles = {
        'parameters': ('parameters, M', 1e6),
        'multiply_adds': ('multiply-adds, G', 1e9),
        'activation_bytes': ('kept for backward, MiB', 2**20),
    }
    names = list(dict.fromkeys(name for row in rows for name in row['parts']))
    place = range(len(rows))
    for axis, (key, (title, unit)) in zip(axes[0], titles.items(), strict=True):
        axis.set_title(title)
        base = [0.0] * len(rows)
        for index, name in enumerate(names):
            values = [row['parts'].get(name, {}).get(key, 0) / unit for row in rows]
            axis.bar(place, values, bottom=base, color=colour(index), label=name)
            base = [b + v for b, v in zip(base, values, strict=True)]
        labels = [row['label'] for row in rows]
        axis.set_xticks(place, labels, rotation=45, ha='right', fontsize='small')
    axes[0, 0].legend(fontsize='small')
    return fig

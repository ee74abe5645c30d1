"""What does a model cost: parameters, multiply-adds and activation memory, by part?

Multiply-adds are counted from the operators that one forward pass runs, so a covariance,
every product of a Newton-Schulz iteration and an eigendecomposition are in it. Activation
memory is what autograd keeps for the backward pass of an image, without the loss.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmgcp.engine.distributed import gather, mine
from mmgcp.engine.forward import prepare
from mmgcp.utils.progress import track
from mmgcp.utils.random_state import seeded
from mmgcp.utils.run_specs import RunSpec

from .output import figure, name_ticks, write_result
from .sample import Run, Settings, load_run, sample_batches


def complexity(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    shape: tuple[int, int] | None = None,
) -> dict:
    """Count every run; return and draw what ``complexity.json`` holds.

    ``shape`` is height and width of the image, by default those of a test image.
    """
    rows = []
    for spec in track(mine(specs), 'complexity'):
        run = load_run(spec, settings)
        size = shape or image_size(run, 'test', settings.seed)
        with seeded(settings.seed):
            rows.append({**run.describe(), **count(run, size)})
    rows = gather(rows)
    return write_result({'analysis': 'complexity', 'runs': rows}, out, draw(rows))


def image_size(run: Run, split: str, seed: int) -> tuple[int, int]:
    """Height and width of an image of a data set behind its pipeline."""
    batch = sample_batches(run, split, 1, 1, seed, shared=False).batches[0]
    height, width = prepare(run.model, batch)['inputs'].shape[2:]
    return height, width


def count(run: Run, size: tuple[int, int]) -> dict[str, Any]:
    """Parameters, multiply-adds and activation bytes of one image, by part.

    A two-stage detector is counted with as many boxes as its config allows per image,
    so that the count depends on the architecture and not on what the detector finds.
    ``size`` is height and width of the image.
    """
    # Training mode moves the statistics of batch norms.
    run = replace(run, model=copy.deepcopy(run.model))
    parts = dict(run.model.named_children())
    parts.pop('data_preprocessor', None)
    row: dict[str, Any] = {'image': [1, 3, *size]}
    if hasattr(run.model, 'rpn_head'):
        row['boxes_per_image'] = boxes_per_image(run.model)
    with torch.no_grad():
        flops, flops_of = count_flops(forward_call(run, size, 1), parts)
    run.model.train().requires_grad_(True)
    # Batch norm refuses a single value per channel, so training needs two images.
    kept, kept_of = count_kept_bytes(forward_call(run, size, 2), run.model, parts)
    rows = {
        name: {
            'parameters': sum(p.numel() for p in part.parameters()),
            'multiply_adds': flops_of.get(name, flops) // 2,
            'activation_bytes': kept_of.get(name, kept) // 2,
        }
        for name, part in {**parts, 'whole': run.model}.items()
    }
    whole = rows.pop('whole')
    rest = {key: whole[key] - sum(part[key] for part in rows.values()) for key in whole}
    return {**row, **whole, 'parts': {**rows, 'rest': rest}}


def forward_call(run: Run, size: tuple[int, int], images: int) -> Callable[[], Any]:
    """A forward pass of noise, without loss and post-processing."""
    model: Any = run.model
    inputs = torch.randn(images, 3, *size, device=run.device)
    names = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    info = dict.fromkeys(names, size)
    samples = None
    if run.framework == 'mmdet':
        from mmdet.structures import DetDataSample

        samples = [DetDataSample(metainfo=info) for _ in range(images)]
    if not hasattr(model, 'rpn_head'):
        return lambda: model(inputs, samples, mode='tensor')
    box = inputs.new_tensor([[0, 0, size[1], size[0]]])
    boxes = InstanceData(bboxes=box.repeat(boxes_per_image(model), 1))

    def call() -> Any:
        features = model.extract_feat(inputs)
        model.rpn_head(features)
        return model.roi_head.forward(features, [boxes] * images, samples)

    return call


def boxes_per_image(model: nn.Module) -> int:
    """The largest number of proposals that a two-stage detector's config allows."""
    return int(model.rpn_head.test_cfg.get('max_per_img', 1000))


def _eigh_flops(matrix: Any, *_args: Any, **_kwargs: Any) -> int:
    """About 9 n^3 for eigenvalues and vectors (Golub and Van Loan, 8.3)."""
    # Releases of torch differ in whether a formula gets tensors or shapes.
    *batch, size, _ = getattr(matrix, 'shape', matrix)
    return math.prod(batch) * 9 * size**3


def count_flops(
    call: Callable[[], Any], parts: dict[str, nn.Module]
) -> tuple[int, dict[str, int]]:
    """Floating-point operations of a call, in all and inside each part.

    Counted are convolutions, matrix products and eigendecompositions; a multiply-add is
    two. Parts are not nested.
    """
    # The counter knows convolutions and matrix products alone.
    eigh = {torch.ops.aten._linalg_eigh: _eigh_flops}
    counter = FlopCounterMode(display=False, custom_mapping=eigh)
    inside = dict.fromkeys(parts, 0)
    with counter, measured_parts(parts, counter.get_total_flops, inside):
        call()
    return counter.get_total_flops(), inside


def count_kept_bytes(
    call: Callable[[], Any], model: nn.Module, parts: dict[str, nn.Module]
) -> tuple[int, dict[str, int]]:
    """Bytes that autograd keeps for the backward pass of a call, in all and by part.

    Each storage counts once, where it is kept first; parameters and buffers, which
    exist anyway, do not.
    """
    own = {t.untyped_storage().data_ptr() for t in model.parameters()}
    own |= {t.untyped_storage().data_ptr() for t in model.buffers()}
    # Holding on to the tensors keeps an address from being used twice.
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    def total() -> int:
        return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    inside = dict.fromkeys(parts, 0)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with torch.enable_grad(), hooks, measured_parts(parts, total, inside):
        call()
    return total(), inside


@contextmanager
def measured_parts(
    parts: dict[str, nn.Module], counter: Callable[[], int], inside: dict[str, int]
) -> Iterator[None]:
    """Add to ``inside`` what ``counter`` grows by within each part.

    Heads are not always called as modules: their methods are. What runs in a child of
    a part counts for the part; what runs in its methods only does not.
    """
    entered: dict[str, list[int]] = {name: [] for name in parts}

    def enter(name: str, *_call) -> None:
        entered[name].append(counter())

    def leave(name: str, *_call) -> None:
        start = entered[name].pop()
        if not entered[name]:  # the outermost module of the part
            inside[name] += counter() - start

    handles = []
    for name, part in parts.items():
        for module in part.modules():
            handles.append(module.register_forward_pre_hook(partial(enter, name)))
            handles.append(module.register_forward_hook(partial(leave, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def draw(rows: Sequence[dict]):
    """Stacked bars per part: parameters, multiply-adds, activation memory."""
    fig, axes = figure(3)
    titles = {
        'parameters': ('parameters, M', 1e6),
        'multiply_adds': ('multiply-adds, G', 1e9),
        'activation_bytes': ('kept for backward, MiB', 2**20),
    }
    names = list(dict.fromkeys(name for row in rows for name in row['parts']))
    for axis, (key, (title, unit)) in zip(axes[0], titles.items(), strict=True):
        axis.set_title(title)
        base = np.zeros(len(rows))
        for index, name in enumerate(names):
            values = [row['parts'].get(name, {}).get(key, 0) / unit for row in rows]
            axis.bar(
                range(len(rows)), values, bottom=base, color=f'C{index}', label=name
            )
            base += values
        name_ticks(axis, [row['label'] for row in rows])
    axes[0, 0].legend(fontsize='small')
    return fig

"""Loss along the gradient of the stem's output.

The measure of Q. Wang et al., "What Deep CNNs Benefit from Global Covariance
Pooling: An Optimization Perspective" (CVPR 2020), after S. Santurkar et al.,
"How Does Batch Normalization Help Optimization?" (NeurIPS 2018). With ``X``
the output of the stem on one batch and ``g`` the gradient of the loss there:

- loss: ``L(X + eta g)`` for a range of step sizes ``eta``;
- gradient change (predictiveness): ``||grad L(X + eta g) - g||``;
- effective beta-smoothness: the largest ``||grad L(X + eta g) - g|| /
  ||eta g||`` over the range.

Stable means that all of them stay small and change little with ``eta``.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine import dist
from torch import Tensor, nn

from .loss import fixed_proposals, model_loss, prepare
from .output import colour, figure, read_json, save_figure, write_json
from .processes import gather, is_main, progress, sum_over_processes
from .random_state import seeded
from .runs import RunSpec, load_run, sample_batches

# First and last step size and their number, of the paper's code for ResNets
# at a batch of 256.
DEFAULT_STEPS = (0.1, 75.0, 50)
STEMS = ('maxpool', 'conv1', 'stem', 'patch_embed')


def stem_module(model: nn.Module, name: str | None = None) -> nn.Module:
    """Find the module whose output is moved.

    Args:
        model (nn.Module): Model with a ``backbone``.
        name (str, optional): Dotted name in the model. Defaults to the last
            module of the stem: ``backbone.maxpool`` for a ResNet.

    Raises:
        ValueError: There is no such module, or no known stem.
    """
    if name is not None:
        try:
            return model.get_submodule(name)
        except AttributeError as error:
            raise ValueError(f'the model has no module {name!r}: {error}') from error
    for candidate in STEMS:
        module = getattr(model.backbone, candidate, None)
        if isinstance(module, nn.Module):
            return module
    raise ValueError(
        f'{type(model.backbone).__name__} has none of {", ".join(STEMS)}: name the '
        'module whose output is moved with --stem'
    )


def loss_landscape(
    loss: Callable[[], Tensor],
    module: nn.Module,
    steps: Sequence[float],
    across_processes: bool = False,
) -> dict[str, list | float]:
    """Move a module's output along the loss gradient and watch the loss.

    Args:
        loss (Callable): Runs the model and returns the scalar loss. Called
            once per step and once more; must be deterministic.
        module (nn.Module): Module whose output ``(B, C, H, W)`` is moved.
        steps (Sequence[float]): Step sizes, along the positive gradient.
        across_processes (bool): Every process of the group holds a part of
            one batch, and calls this together with the others.

    Returns:
        dict: ``loss_at_zero``, ``gradient_norm``, and per step ``eta``,
        ``loss``, ``gradient_change``, ``beta``.

    Raises:
        RuntimeError: The module runs not exactly once per evaluation.
    """
    # Each process' loss is a mean over its part of the batch; dividing its
    # gradient by their number gives the gradient of the mean over the batch.
    world = dist.get_world_size() if across_processes else 1
    total = sum_over_processes if across_processes else (lambda tensor: tensor)
    moved: list[Tensor] = []
    offset: list[Tensor] = []

    def replace(_module, _inputs, output: Tensor) -> Tensor:
        point = output.detach()
        if offset:
            point = point + offset[0]
        moved.append(point.requires_grad_())
        return moved[-1]

    def evaluate() -> tuple[float, Tensor]:
        moved.clear()
        with torch.enable_grad():
            value = loss()
            if len(moved) != 1:
                raise RuntimeError(
                    f'the stem module ran {len(moved)} times in one evaluation'
                )
            gradient = torch.autograd.grad(value, moved[0])[0] / world
        return float(total(value.detach().double().reshape(1))) / world, gradient

    def norm(tensor: Tensor) -> float:
        return float(total(tensor.double().square().sum().reshape(1))) ** 0.5

    handle = module.register_forward_hook(replace)
    try:
        loss_at_zero, gradient = evaluate()
        length = norm(gradient)
        losses, changes, betas = [], [], []
        for eta in steps:
            offset[:] = [eta * gradient]
            value, other = evaluate()
            losses.append(value)
            changes.append(norm(other - gradient))
            distance = abs(eta) * length
            betas.append(changes[-1] / distance if distance > 0 else 0.0)
    finally:
        handle.remove()
    return {
        'loss_at_zero': loss_at_zero,
        'gradient_norm': length,
        'eta': list(map(float, steps)),
        'loss': losses,
        'gradient_change': changes,
        'beta': betas,
        'effective_beta': max(betas),
    }


def measure_batch(
    model: nn.Module,
    batch: dict,
    steps: Sequence[float],
    stem: str | None = None,
    seed: int = 0,
    across_processes: bool = False,
) -> dict:
    """:func:`loss_landscape` of a framework's model on one raw batch.

    The model keeps its mode: batch statistics in training mode, as the paper.
    """
    with torch.no_grad():
        data = prepare(model, batch)

    def loss() -> Tensor:
        with seeded(seed):
            state['key'] = 0
            return model_loss(model, data)

    with fixed_proposals(model) as state:
        module = stem_module(model, stem)
        return loss_landscape(loss, module, steps, across_processes)


def landscape(
    specs: Sequence[RunSpec],
    out: str | Path,
    steps: tuple[float, float, int] = DEFAULT_STEPS,
    images: int | None = None,
    batch_size: int | None = None,
    split: str = 'train',
    stem: str | None = None,
    seed: int = 0,
    options: dict | None = None,
    device: str | None = None,
) -> dict:
    """Measure saved checkpoints, or read what :class:`LandscapeHook` wrote.

    A checkpoint that is a ``.json`` file is taken as the hook's record.
    Several checkpoints under one label make a band over training. Batches are
    split over processes.

    Args:
        specs (Sequence[RunSpec]): The runs.
        out (str | Path): Folder of ``landscape.json`` and ``landscape.png``.
        steps (tuple): First step size, last one, their number.
        images (int, optional): Defaults to 64 for a classifier, 4 otherwise.
        batch_size (int, optional): Defaults to 32, and 4.
        split (str): Whose data loader the sample comes from.
        stem (str, optional): Module to move, see :func:`stem_module`.
        seed (int): Seed of the sample.
        options (dict, optional): Config overrides.
        device (str, optional): Where to run.

    Returns:
        dict: What ``landscape.json`` holds.
    """
    etas = np.linspace(*steps).tolist()
    rows = []
    with progress() as bar:
        task = bar.add_task('landscape', total=len(specs))
        for spec in specs:
            if spec.checkpoint.endswith('.json'):
                record = read_json(spec.checkpoint)
                for entry in record['entries']:
                    rows.append({'label': spec.label, 'from': 'training', **entry})
            else:
                rows.append(
                    measure_run(
                        spec,
                        etas,
                        images,
                        batch_size,
                        split,
                        stem,
                        seed,
                        options,
                        device,
                    )
                )
            bar.advance(task)
    result = {'analysis': 'landscape', 'steps': list(steps), 'runs': rows}
    if is_main():
        write_json(Path(out) / 'landscape.json', result)
        save_figure(draw(rows), Path(out) / 'landscape.png')
    return result


def measure_run(
    spec, etas, images, batch_size, split, stem, seed, options, device
) -> dict:
    """Measure one checkpoint batch by batch."""
    run = load_run(spec, options, device, seed)
    dense = run.scope != 'mmpretrain'
    sample = sample_batches(
        run,
        split,
        images or (4 if dense else 64),
        batch_size or (4 if dense else 32),
        seed,
    )
    run.model.train()
    start = time.perf_counter()
    local = [
        measure_batch(run.model, batch, etas, stem, seed) for batch in sample.batches
    ]
    batches = gather(local)
    return {
        **run.describe(),
        'from': 'checkpoint',
        'sample': sample.description,
        'batch_norm': 'statistics of the batch',
        'seconds': time.perf_counter() - start,
        **merge(batches),
        'batches': batches,
    }


def merge(batches: Sequence[dict]) -> dict:
    """Mean over batches of each curve, and the band over batches and steps."""
    curves = ('loss', 'gradient_change', 'beta')
    result: dict = {'eta': batches[0]['eta']}
    for name in curves:
        values = np.array([batch[name] for batch in batches])
        result[name] = values.mean(0)
        result[f'{name}_band'] = [values.min(), values.max()]
    for name in ('loss_at_zero', 'gradient_norm', 'effective_beta'):
        result[name] = float(np.mean([batch[name] for batch in batches]))
    return result


def draw(rows: Sequence[dict]):
    """Curves over the step size, or bands over training where there are several."""
    labels = list(dict.fromkeys(row['label'] for row in rows))
    titles = {
        'loss': 'loss',
        'gradient_change': 'change of the gradient',
        'beta': 'effective beta',
    }
    fig, axes = figure(3)
    for axis, (name, title) in zip(axes[0], titles.items(), strict=True):
        axis.set_title(title)
        for index, label in enumerate(labels):
            series = [row for row in rows if row['label'] == label]
            style = {'color': colour(index), 'label': label}
            if len(series) == 1:
                axis.plot(series[0]['eta'], series[0][name], **style)
                axis.set_xlabel('step size eta')
                continue
            series.sort(key=lambda row: row['iteration'] or 0)
            x = [row['iteration'] or 0 for row in series]
            if name == 'beta':
                axis.plot(x, [row['effective_beta'] for row in series], **style)
            else:
                bands = np.array([row[f'{name}_band'] for row in series], float)
                axis.fill_between(x, bands[:, 0], bands[:, 1], alpha=0.4, **style)
            axis.set_xlabel('iteration')
    axes[0, 0].legend(fontsize='small')
    return fig

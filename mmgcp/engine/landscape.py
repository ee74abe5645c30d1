"""The loss along the gradient of a feature map, also while training.

The measure of Q. Wang et al., "What Deep CNNs Benefit from Global Covariance Pooling:
An Optimization Perspective" (CVPR 2020), after S. Santurkar et al., "How Does Batch
Normalization Help Optimization?" (NeurIPS 2018). With ``X`` the output of the stem on
one batch and ``g`` the gradient of the loss there:

- loss: ``L(X + eta g)`` for a range of step sizes ``eta``;
- gradient change (predictiveness): ``||grad L(X + eta g) - g||``;
- effective beta-smoothness: the largest ``||grad L(X + eta g) - g|| / ||eta g||``
  over the range.
"""

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmgcp.registry import HOOKS
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import read_json, write_json
from mmgcp.utils.random_state import preserved_random_state, seeded

from .distributed import is_main, sum_over_processes
from .forward import fixed_proposals, model_loss, prepare

Steps = tuple[float, float, int]

#: First and last step size and their number in the published code: for ResNets with
#: batches of 256, and for MobileNetV2 with batches of 96.
RESNET_STEPS: Steps = (0.1, 75.0, 50)
MOBILENET_STEPS: Steps = (0.045, 1.5, 50)
CURVES = ('loss', 'gradient_change', 'beta')
STEMS = ('maxpool', 'conv1', 'stem', 'patch_embed')


def default_steps(model: nn.Module) -> Steps:
    """The published step sizes of the model's architecture."""
    mobile = 'MobileNetV2' in [base.__name__ for base in type(model.backbone).__mro__]
    return MOBILENET_STEPS if mobile else RESNET_STEPS


def stem_module(model: nn.Module, name: str | None = None) -> nn.Module:
    """The module whose output is moved, by its dotted name in the model.

    Defaults to the last module of the stem: ``backbone.maxpool`` for a ResNet.
    """
    if name is not None:
        try:
            return model.get_submodule(name)
        except AttributeError as error:
            raise UserError(f'the model has no module {name!r}: {error}') from error
    for candidate in STEMS:
        if hasattr(model.backbone, candidate):
            return getattr(model.backbone, candidate)
    raise UserError(
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
        loss: Runs the model and returns the scalar loss; must be deterministic.
        module: Module whose output is moved, of a tuple the first.
        steps: Step sizes, along the positive gradient.
        across_processes: Every process of the group holds a part of one batch, and
            calls this together with the others.
    """
    world = dist.get_world_size() if across_processes else 1

    def total(value: Tensor) -> float:
        value = value.detach().double().reshape(1)
        return float(sum_over_processes(value) if across_processes else value)

    def evaluate(offset: Tensor | float) -> tuple[float, Tensor]:
        moved: list[Tensor] = []

        def replace(_module, _inputs, output: Any) -> Any:
            # A patch embedding returns its tokens and the size of their grid.
            first, *rest = output if isinstance(output, tuple) else (output,)
            moved.append((first.detach() + offset).requires_grad_())
            return (moved[-1], *rest) if rest else moved[-1]

        handle = module.register_forward_hook(replace)
        try:
            with torch.enable_grad():
                value = loss()
        finally:
            handle.remove()
        if len(moved) != 1:
            raise UserError(
                f'the stem module ran {len(moved)} times in one evaluation: name one '
                'that runs once with --stem'
            )
        gradient = torch.autograd.grad(value, moved[0])[0] / world
        return total(value) / world, gradient

    loss_at_zero, gradient = evaluate(0.0)
    length = total(gradient.double().square().sum()) ** 0.5
    losses, changes, betas = [], [], []
    for eta in steps:
        value, other = evaluate(eta * gradient)
        losses.append(value)
        changes.append(total((other - gradient).double().square().sum()) ** 0.5)
        distance = abs(eta) * length
        betas.append(changes[-1] / distance if distance else 0.0)
    return {
        'loss_at_zero': loss_at_zero,
        'gradient_norm': length,
        'eta': list(map(float, steps)),
        **dict(zip(CURVES, (losses, changes, betas), strict=True)),
        'effective_beta': max(betas),
    }


def measure_batch(
    model: nn.Module,
    batch: dict,
    steps: Steps | None = None,
    stem: str | None = None,
    seed: int = 0,
    across_processes: bool = False,
) -> dict:
    """:func:`loss_landscape` of a framework's model on one raw batch.

    The model keeps its mode: batch statistics in training mode, as in the paper.
    See also :func:`default_steps` and :func:`stem_module`.
    """
    with torch.no_grad():
        data = prepare(model, batch)

    def loss() -> Tensor:
        with seeded(seed):
            state['key'] = 0
            return model_loss(model, data)

    first, last, number = steps or default_steps(model)
    if number < 1:
        raise UserError(f'{number:g} step sizes: give at least 1 with --steps')
    etas = np.linspace(first, last, int(number)).tolist()
    with fixed_proposals(model) as state:
        return loss_landscape(loss, stem_module(model, stem), etas, across_processes)


def merge(batches: Sequence[dict]) -> dict:
    """Mean over batches of each curve, and the band over batches and steps."""
    result = {key: np.mean([b[key] for b in batches], axis=0) for key in batches[0]}
    for name in CURVES:
        values = [batch[name] for batch in batches]
        result[f'{name}_band'] = [np.min(values), np.max(values)]
    return result


@HOOKS.register_module()
class LandscapeHook(Hook):
    """Measure loss and gradient stability every ``interval`` iterations.

    It measures with the weights before the optimizer's step and on the batch of that
    step, as the published code does. It works on a copy of the model and restores
    every generator of random numbers, so the training result is the same bit for bit.
    The price is memory for the copy, and a forward and backward pass for each step
    size. It computes without autocast. The record is ``landscape.json`` in the work
    folder, which a resumed run continues.

    Args:
        interval: The paper has 500 iterations for ResNets, 1000 for MobileNetV2.
        steps: First step size, last one, their number; see :func:`default_steps`.
        stem: Module whose output is moved; see :func:`stem_module`.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 500,
        steps: Steps | None = None,
        stem: str | None = None,
    ) -> None:
        if interval < 1:
            raise UserError(f'LandscapeHook: interval={interval}, at least 1')
        self.interval, self.steps, self.stem = interval, steps, stem
        self.entries: list[dict] = []

    def before_train(self, runner) -> None:
        """Take up the record of the iterations before a resume."""
        self.path, kept = Path(runner.work_dir) / 'landscape.json', []
        if runner.iter > 0 and self.path.is_file():
            kept = read_json(self.path)['entries']
        self.entries = [e for e in kept if e['iteration'] < runner.iter]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Measure on the batch that the step is about to use."""
        if runner.iter % self.interval:
            return
        start = time.perf_counter()
        model = runner.model
        model = copy.deepcopy(model.module if is_model_wrapper(model) else model)
        with preserved_random_state():
            measured = measure_batch(
                model, data_batch, self.steps, self.stem, runner.iter, True
            )
        entry = {'iteration': runner.iter, 'seconds': time.perf_counter() - start}
        self.entries.append({**entry, **merge([measured])})
        if is_main():
            write_json(self.path, {'entries': self.entries})

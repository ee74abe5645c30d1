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
from .loss import fixed_proposals, model_loss, prepare

Steps = tuple[float, float, int]

#: First and last step size and their number in the published code: for ResNets with
#: batches of 256, and for MobileNetV2 with batches of 96.
RESNET_STEPS: Steps = (0.1, 75.0, 50)
MOBILENET_STEPS: Steps = (0.045, 1.5, 50)
STEMS = ('maxpool', 'conv1', 'stem', 'patch_embed')


def default_steps(model: nn.Module) -> Steps:
    """The published step sizes of the model's architecture."""
    names = [base.__name__ for base in type(model.backbone).__mro__]
    return MOBILENET_STEPS if 'MobileNetV2' in names else RESNET_STEPS


def stem_module(model: nn.Module, name: str | None = None) -> nn.Module:
    """Find the module whose output is moved.

    Args:
        model: Model with a ``backbone``.
        name: Dotted name in the model. Defaults to the last module of the stem:
            ``backbone.maxpool`` for a ResNet.

    Raises:
        UserError: There is no such module, or no known stem.
    """
    if name is not None:
        try:
            return model.get_submodule(name)
        except AttributeError as error:
            raise UserError(f'the model has no module {name!r}: {error}') from error
    for candidate in STEMS:
        module = getattr(model.backbone, candidate, None)
        if isinstance(module, nn.Module):
            return module
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
        loss: Runs the model and returns the scalar loss. Called once per step and
            once more; must be deterministic.
        module: Module whose output ``(B, C, H, W)`` is moved.
        steps: Step sizes, along the positive gradient.
        across_processes: Every process of the group holds a part of one batch, and
            calls this together with the others.

    Raises:
        UserError: The module does not run exactly once per evaluation.
    """
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
                raise UserError(
                    f'the stem module ran {len(moved)} times in one evaluation: name '
                    'one that runs once with --stem'
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
    steps: Steps | None = None,
    stem: str | None = None,
    seed: int = 0,
    across_processes: bool = False,
) -> dict:
    """:func:`loss_landscape` of a framework's model on one raw batch.

    The model keeps its mode: batch statistics in training mode, as in the paper.

    Args:
        model: A model of mmpretrain, mmdet or mmseg.
        batch: What the data loader gives.
        steps: First step size, last one, their number. Defaults to
            :func:`default_steps`.
        stem: See :func:`stem_module`.
        seed: Seed of each evaluation.
        across_processes: See :func:`loss_landscape`.
    """
    with torch.no_grad():
        data = prepare(model, batch)

    def loss() -> Tensor:
        with seeded(seed):
            state['key'] = 0
            return model_loss(model, data)

    etas = np.linspace(*(steps or default_steps(model))).tolist()
    with fixed_proposals(model) as state:
        return loss_landscape(loss, stem_module(model, stem), etas, across_processes)


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


@HOOKS.register_module()
class LandscapeHook(Hook):
    """Measure loss and gradient stability every ``interval`` iterations.

    It measures with the weights before the optimizer's step and on the batch of that
    step, as the published code does. It works on a copy of the model and restores
    every generator of random numbers, so the training result is the same bit for bit.
    The price is memory for the copy and, each time, as many forward and backward
    passes as there are steps (the backward pass stops at the stem); the seconds spent
    are in the record. It computes without autocast. Under a process group every
    process measures its part of the batch.

    Args:
        interval: Iterations from one measure to the next. The paper has 500 for
            ResNets and 1000 for MobileNetV2.
        steps: First step size, last one, their number. Defaults to those that the
            paper uses for the architecture.
        stem: Module whose output is moved; see :func:`stem_module`.
        filename: Record in the work folder, rewritten after each measure;
            ``tools/analysis/landscape.py`` reads it in place of a checkpoint.
            Resuming continues it.

    Raises:
        UserError: ``interval`` is not positive.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 500,
        steps: Steps | None = None,
        stem: str | None = None,
        filename: str = 'landscape.json',
    ) -> None:
        if interval < 1:
            raise UserError(f'LandscapeHook: interval={interval}, at least 1')
        self.interval = interval
        self.steps = steps
        self.stem = stem
        self.filename = filename
        self.entries: list[dict] = []

    def before_train(self, runner) -> None:
        """Take up the record of the iterations before a resume."""
        path = self._path(runner)
        self.entries = []
        if runner.iter > 0 and path.is_file():
            kept = read_json(path)['entries']
            self.entries = [e for e in kept if e['iteration'] < runner.iter]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Measure on the batch that the step is about to use."""
        if runner.iter % self.interval:
            return
        start = time.perf_counter()
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        with preserved_random_state():
            measured = measure_batch(
                copy.deepcopy(model),
                data_batch,
                self.steps,
                self.stem,
                seed=runner.iter,
                across_processes=True,
            )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.entries.append(
            {
                'iteration': runner.iter,
                'seconds': time.perf_counter() - start,
                **merge([measured]),
            }
        )
        if is_main():
            write_json(self._path(runner), {'entries': self.entries})

    def _path(self, runner) -> Path:
        return Path(runner.work_dir) / self.filename

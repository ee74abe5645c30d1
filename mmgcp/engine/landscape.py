"""Moving a feature map along the gradient of the loss."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine import dist
from torch import Tensor, nn

from mmgcp.engine.distributed import sum_over_processes
from mmgcp.utils.random_state import seeded

from .loss import fixed_proposals, model_loss, prepare

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

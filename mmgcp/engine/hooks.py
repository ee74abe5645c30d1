"""Hooks of the mmgcp scope that do not belong to a model."""

import math

from mmengine.dist import get_rank
from mmengine.hooks import Hook

from mmgcp.registry import HOOKS
from mmgcp.utils.errors import UserError
from mmgcp.utils.random_state import hashed_seed, seed_all


class NotFiniteError(UserError):
    """A loss or a weight is infinite or not a number."""


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Make every random draw a function of (seed, epoch, rank).

    A checkpoint does not hold the state of the generators. With this hook a run that
    was killed and resumed at the end of an epoch ends with the weights of the run that
    was not. Draws inside workers of a data loader are not covered: use
    ``num_workers=0`` or transforms that draw nothing.
    """

    # Before every hook that might draw.
    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        """Seed ``random``, numpy and torch for this epoch on this rank."""
        seed_all(hashed_seed(runner.seed, runner.epoch, get_rank()))


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop a training whose loss is infinite or not a number.

    The loss is looked at every 10 iterations, because each look waits for the GPU.
    Under dynamic loss scaling single losses may overflow; there the training stops
    after 20 looks in a row.
    """

    # Before the hook that saves checkpoints.
    priority = 'VERY_HIGH'

    in_a_row = 0

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        """Look at the loss of this iteration; NotFiniteError when it is not finite."""
        loss = (outputs or {}).get('loss')
        if loss is None or not (
            self.every_n_train_iters(runner, 10) or self.is_last_train_iter(runner)
        ):
            return
        value = float(loss.detach())
        if math.isfinite(value):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        scaled = getattr(runner.optim_wrapper, 'loss_scaler', None) is not None
        if self.in_a_row >= (20 if scaled else 1):
            raise NotFiniteError(
                f'the loss is {value} at iteration {runner.iter + 1}; the training '
                f'stopped, and the checkpoints in {runner.work_dir} were kept. Lower '
                'the learning rate, lengthen the warm-up, or train without --amp'
            )

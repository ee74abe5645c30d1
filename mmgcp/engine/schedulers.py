"""Learning-rate schedules in closed form.

The published schedules are formulas of the epoch. mmengine's schedulers multiply
the last value by a ratio and reach their end one step early; these compute each
value from the initial one, so that a resumed run and a long run are exact too.
"""

import math

from mmengine.optim.scheduler import _ParamScheduler

from mmgcp.registry import PARAM_SCHEDULERS


class _ClosedFormLR(_ParamScheduler):
    """Sets each group's ``lr`` to a function of its initial one and the step.

    Args:
        optimizer (Optimizer | OptimWrapper): The wrapped optimizer.
        total (int): Length of the decay, in epochs or iterations.
        **kwargs: ``begin``, ``end``, ``last_step``, ``by_epoch`` and ``verbose`` of
            mmengine's schedulers.
    """

    def __init__(self, optimizer, *args, total: int, **kwargs):
        if total < 1:
            raise ValueError(f'`total` must be at least 1, got {total}.')
        self.total = total
        super().__init__(optimizer, 'lr', *args, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls, *args, total: int, by_epoch: bool = True, epoch_length=None, **kwargs
    ):
        """Build the same schedule counted in iterations.

        Args:
            total (int): Length of the decay in epochs.
            by_epoch (bool): Must be true. Defaults to True.
            epoch_length (int): Iterations in one epoch.
        """
        if not by_epoch or not epoch_length:
            raise ValueError(
                'Only a schedule with `by_epoch=True` can be converted to '
                f'iterations, and only with their number (got {epoch_length}).'
            )
        for key in cls._lengths & kwargs.keys():
            kwargs[key] = kwargs[key] * epoch_length
        return cls(*args, total=total * epoch_length, by_epoch=False, **kwargs)

    _lengths = frozenset({'begin', 'end'})

    def _value(self, base: float, step: int) -> float:
        raise NotImplementedError

    def _get_value(self) -> list:
        return [self._value(base, self.last_step) for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class PolynomialLR(_ClosedFormLR):
    """``lr(t) = lr(0) * (1 - t / total) ** power``, zero from ``total`` on.

    Unlike in mmengine's ``PolyLR``, zero is reached at ``total``, one step after
    the last of ``total`` steps, as in the schedules of the GCP papers.

    Args:
        power (float): Exponent of the decay. Defaults to 1.
    """

    def __init__(self, optimizer, *args, power: float = 1.0, **kwargs):
        self.power = power
        super().__init__(optimizer, *args, **kwargs)

    def _value(self, base: float, step: int) -> float:
        return base * max(0.0, 1 - step / self.total) ** self.power


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ClosedFormLR):
    """Cosine from step 0 to ``total``, its first ``warmup`` steps replaced by a ramp.

    The ramp goes linearly from ``warmup_value`` to the initial rate; the cosine is not
    shifted by it. From ``total`` on the rate stays at ``eta_min``.

    Args:
        warmup (int): Length of the ramp. Defaults to 0.
        warmup_value (float): Rate of step 0. Defaults to 0.
        eta_min (float): Lowest rate of the cosine. Defaults to 0.
    """

    _lengths = frozenset({'begin', 'end', 'warmup'})

    def __init__(
        self,
        optimizer,
        *args,
        warmup: int = 0,
        warmup_value: float = 0.0,
        eta_min: float = 0.0,
        **kwargs,
    ):
        self.warmup = warmup
        self.warmup_value = warmup_value
        self.eta_min = eta_min
        super().__init__(optimizer, *args, **kwargs)

    def _value(self, base: float, step: int) -> float:
        if step < self.warmup:
            ramp = (base - self.warmup_value) / self.warmup
            return self.warmup_value + step * ramp
        if step >= self.total:
            return self.eta_min
        cosine = 1 + math.cos(math.pi * step / self.total)
        return self.eta_min + 0.5 * (base - self.eta_min) * cosine

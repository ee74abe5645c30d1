"""Learning-rate schedules in closed form.

The published schedules are formulas of the epoch. mmengine's schedulers multiply the
last value by a ratio and reach their end one step early. These compute each value from
the initial one, so that a resumed run is exact too.
"""

import math

from mmengine.optim.scheduler import _ParamScheduler

from mmgcp.registry import PARAM_SCHEDULERS


class _ClosedFormLR(_ParamScheduler):
    """Sets each group's ``lr`` to a function of its initial one and the step.

    ``total`` is the length of the decay, in epochs or iterations. Other arguments are
    those of mmengine's schedulers.
    """

    _lengths = frozenset({'begin', 'end'})

    def __init__(self, optimizer, *args, total: int, **kwargs):
        if total < 1:
            raise ValueError(f'total={total}: the decay takes at least one step')
        self.total = total
        super().__init__(optimizer, 'lr', *args, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, total: int, epoch_length: int, **kwargs):
        """Build the schedule counted in iterations (``convert_to_iter_based=True``)."""
        for key in cls._lengths & kwargs.keys():
            kwargs[key] = kwargs[key] * epoch_length
        kwargs['by_epoch'] = False
        return cls(*args, total=total * epoch_length, **kwargs)

    def _value(self, base: float, step: int) -> float:
        raise NotImplementedError

    def _get_value(self) -> list:
        return [self._value(base, self.last_step) for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class PolynomialLR(_ClosedFormLR):
    """``lr(t) = lr(0) * (1 - t / total) ** power``, zero from ``total`` on."""

    def __init__(self, optimizer, *args, power: float = 1.0, **kwargs):
        self.power = power
        super().__init__(optimizer, *args, **kwargs)

    def _value(self, base: float, step: int) -> float:
        return base * max(0.0, 1 - step / self.total) ** self.power


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ClosedFormLR):
    """Cosine from step 0 to ``total``, its first ``warmup`` steps replaced by a ramp.

    The ramp goes linearly from ``warmup_value`` to the initial rate and does not shift
    the cosine. From ``total`` on the rate stays at ``eta_min``.
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
        self.warmup, self.warmup_value = warmup, warmup_value
        self.eta_min = eta_min
        super().__init__(optimizer, *args, **kwargs)

    def _value(self, base: float, step: int) -> float:
        if step < self.warmup:
            ramp = (base - self.warmup_value) / self.warmup
            return self.warmup_value + step * ramp
        cosine = 1 + math.cos(math.pi * min(1.0, step / self.total))
        return self.eta_min + 0.5 * (base - self.eta_min) * cosine

"""The training loss of a fixed sample as a function of the weights."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmgcp.engine.distributed import sum_over_processes
from mmgcp.engine.loss import fixed_proposals, model_loss, prepare
from mmgcp.utils.random_state import seeded

from .runs import Batches


class SampleLoss:
    """Mean loss of a fixed sample, its gradient, and moves of the weights.

    Dropout is off. Random samplers of a detector get the same seed at every
    evaluation. Batch-norm layers use their running statistics
    (``batch_norm='eval'``) or those of each batch (``'train'``), and never
    update them.

    Args:
        model (nn.Module): A model of mmpretrain, mmdet or mmseg.
        sample (Batches): Share of the sample that this process holds.
        part (str): Prefix of the parameters that move; '' for all of them.
        batch_norm (str): ``'eval'`` or ``'train'``.
        seed (int): Seed of each evaluation.

    Raises:
        ValueError: No parameter begins with ``part``.
    """

    def __init__(
        self,
        model: nn.Module,
        sample: Batches,
        part: str = '',
        batch_norm: str = 'eval',
        seed: int = 0,
    ) -> None:
        if batch_norm not in ('eval', 'train'):
            raise ValueError(f'batch_norm is {batch_norm!r}: eval or train')
        self.model = model.eval()
        self.sizes, self.total, self.seed = sample.sizes, sample.total, seed
        self.data = [prepare(model, batch) for batch in sample.batches]
        self.dtype = torch.float32
        self._proposals: dict = {}
        names = [name for name, _ in model.named_parameters() if name.startswith(part)]
        if not names:
            raise ValueError(f'no parameter of the model begins with {part!r}')
        self.names = names
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in set(names))
        if batch_norm == 'train':
            for module in model.modules():
                if isinstance(module, _BatchNorm):
                    module.train()
                    module.momentum = 0.0

    @property
    def parameters(self) -> list[Tensor]:
        table = dict(self.model.named_parameters())
        return [table[name] for name in self.names]

    @property
    def numel(self) -> int:
        return sum(p.numel() for p in self.parameters)

    def batch_loss(self, index: int) -> Tensor:
        """Loss of one of this process' batches, with its graph."""
        with seeded(self.seed), fixed_proposals(self.model) as state:
            state['store'], state['key'] = self._proposals, index
            return model_loss(self.model, self.data[index])

    @torch.no_grad()
    def value(self) -> float:
        """Mean loss over the sample of all processes."""
        losses = [float(self.batch_loss(i)) * size for i, size in enumerate(self.sizes)]
        total = sum_over_processes(torch.tensor(sum(losses), dtype=torch.float64))
        return float(total) / self.total

    def gradient(self) -> Tensor:
        """Gradient of :meth:`value`, flat ``(P,)``, in double precision."""
        parameters = self.parameters
        total = torch.zeros(self.numel, dtype=torch.float64)
        for index, size in enumerate(self.sizes):
            gradients = torch.autograd.grad(
                self.batch_loss(index), parameters, allow_unused=True
            )
            total += size * flatten(gradients, parameters)
        return sum_over_processes(total) / self.total

    def weights(self) -> Tensor:
        """Current weights, flat ``(P,)``, in double precision."""
        return flatten([p.detach() for p in self.parameters], self.parameters)

    @contextmanager
    def at(self, weights: Tensor) -> Iterator[None]:
        """Evaluate at other weights ``(P,)``, then come back exactly."""
        kept = [p.detach().clone() for p in self.parameters]
        try:
            self._write(unflatten(weights, self.parameters))
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def double(self) -> 'SampleLoss':
        """The same loss in double precision, on a copy of the model.

        Proposals and boxes stay as they are: they are constants, and the
        compiled operators that make them know single precision only.
        """
        if self.data and not self._proposals:
            self.value()
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model).double()
        other.dtype = torch.float64
        other.data = [{**data, 'inputs': data['inputs'].double()} for data in self.data]
        return other


def flatten(tensors: Sequence[Tensor | None], like: Sequence[Tensor]) -> Tensor:
    """Concatenate into ``(P,)`` float64 on the CPU; ``None`` becomes zeros."""
    pieces = [
        torch.zeros(p.numel(), dtype=torch.float64)
        if t is None
        else t.detach().reshape(-1).double().cpu()
        for t, p in zip(tensors, like, strict=True)
    ]
    return torch.cat(pieces)


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a flat ``(P,)`` vector into tensors shaped and typed as ``like``."""
    pieces = vector.split([p.numel() for p in like])
    return [v.view_as(p).to(p) for v, p in zip(pieces, like, strict=True)]

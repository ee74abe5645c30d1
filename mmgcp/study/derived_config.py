"""Framework configs that a study derives from those of the project."""

import os
import pprint
from functools import cache
from pathlib import Path
from typing import Any

from mmgcp.utils.config import difference, load_config, merge

from .step import StudyError


def find(path: str, root: Path) -> Path:
    """A file named in a study: below the working folder, else below ``root``."""
    for candidate in (Path(path), root / path):
        if candidate.exists():
            return candidate
    raise StudyError(f'{path}: not found, neither here nor below {root}')


def shown(path: str | Path) -> str:
    """A path as a user in the working folder would type it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith('..') else relative


@cache
def _read(path: Path) -> dict[str, Any]:
    return load_config(path).to_dict()


def _batch_size(values: dict[str, Any]) -> int:
    return (values.get('train_dataloader') or {}).get('batch_size', 1)


class DerivedConfig:
    """The config file ``base`` with a study's changes; ``values`` is the whole."""

    def __init__(self, base: Path, values: dict[str, Any] | None = None) -> None:
        self.base = base
        self.values = _read(base) if values is None else values
        #: Images per process and training step.
        self.batch_size = _batch_size(self.values)
        scale = self.values.get('auto_scale_lr') or {}
        #: Images per training step for which the learning rate is meant.
        self.total_batch: int = scale.get('base_batch_size') or self.batch_size
        self.scales_rate = bool(scale.get('enable'))

    def changed(self, changes: dict[str, Any]) -> 'DerivedConfig':
        """The config with nested ``changes``; ``_delete_`` works as in a config."""
        return DerivedConfig(self.base, merge(self.values, changes))

    def on_processes(self, count: int) -> 'DerivedConfig':
        """The config with its total batch divided between processes.

        With ``auto_scale_lr.enable`` each process keeps its batch, and mmengine scales
        the learning rate in proportion to the total.

        Raises:
            StudyError: The batches of the processes do not make the total batch.
        """
        if self.scales_rate:
            if not self.values['auto_scale_lr'].get('base_batch_size'):
                raise StudyError(f'{self.base}: auto_scale_lr has no base_batch_size')
            return self
        chosen = self.batch_size != _batch_size(_read(self.base))
        each = self.batch_size if chosen else self.total_batch // count
        if each * count != self.total_batch:
            of = f' with train_dataloader.batch_size={each}' if chosen else ''
            raise StudyError(
                f'{self.base}: its learning rate is meant for a total batch of '
                f'{self.total_batch}, which {count} processes{of} do not make. Change '
                'the number of processes (nproc of the task, --nproc), or put '
                'auto_scale_lr=dict(enable=True) into `overrides`: each process keeps '
                'its batch, and the learning rate is scaled to the total'
            )
        if each == self.batch_size:
            return self
        return self.changed({'train_dataloader': {'batch_size': each}})

    def recipe(self, count: int) -> str:
        """Batch and learning rate of a training with a number of processes."""
        total = self.batch_size * count
        optimizer = (self.values.get('optim_wrapper') or {}).get('optimizer') or {}
        rate = optimizer.get('lr', 'unknown')
        if self.scales_rate and 'lr' in optimizer:
            rate = f'{rate * total / self.total_batch:g}, scaled from {rate}'
        return (
            f'total batch {total} ({count} x {self.batch_size}), learning rate {rate}'
        )

    def text(self, folder: Path) -> str:
        """Source of a config file in ``folder``: ``_base_`` and what differs."""
        base = os.path.relpath(self.base.resolve(), folder.resolve())
        lines = [f'_base_ = [{base!r}]']
        for key, value in difference(_read(self.base), self.values).items():
            body = pprint.pformat(value, width=80, sort_dicts=False)
            lines.append(f'{key} = {body}')
        return '\n'.join(lines) + '\n'

    def schedule(self) -> tuple[bool, int]:
        """Whether training counts epochs, and how many epochs or iterations."""
        train = self.values.get('train_cfg') or {}
        length = train.get('max_epochs') or train.get('max_iters')
        if not length:
            raise StudyError(f'{self.base}: train_cfg has no max_epochs or max_iters')
        return bool(train.get('max_epochs')), int(length)

    def last_checkpoint(self) -> str:
        """Name of the checkpoint that training ends with."""
        by_epoch, length = self.schedule()
        hook = (self.values.get('default_hooks') or {}).get('checkpoint') or {}
        if hook.get('by_epoch', True) != by_epoch:
            raise StudyError(
                f'{self.base}: default_hooks.checkpoint.by_epoch does not fit train_cfg'
            )
        return f'epoch_{length}.pth' if by_epoch else f'iter_{length}.pth'

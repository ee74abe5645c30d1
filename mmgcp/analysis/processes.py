"""One process or several: who does what, and how results come together."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from mmengine import dist

from mmgcp.utils.distributed import init_cpu_group

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar('T')


def start(launcher: str = 'none') -> None:
    """Join the process group when the tool was started by a launcher.

    Args:
        launcher (str): ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.
    """
    if launcher == 'none' or dist.is_distributed():
        return
    # mmengine's launchers take a GPU for granted.
    init_cpu_group(launcher, {})
    if torch.cuda.is_available():
        dist.init_dist(launcher, backend='nccl')


def mine(items: Sequence[T]) -> list[T]:
    """Share of this process: every world-size-th item from its rank on."""
    rank, world = dist.get_dist_info()
    return list(items[rank::world])


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """Undo :func:`mine`: the items of all processes in their first order."""
    longest = max(map(len, parts))
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def gather(items: Sequence[T]) -> list[T]:
    """All processes' results, in the order that :func:`mine` split."""
    return interleave(dist.all_gather_object(list(items)))


_local = False


@contextmanager
def local_sums() -> Iterator[None]:
    """Make :func:`sum_over_processes` return what it gets.

    For a trial that may fail in one process and not in another.
    """
    global _local
    _local = True
    try:
        yield
    finally:
        _local = False


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over all processes; with one process, return it."""
    if dist.get_world_size() > 1 and not _local:
        device = dist.get_comm_device()
        total = tensor.to(device).contiguous()
        dist.all_reduce(total, 'sum')
        return total.to(tensor.device)
    return tensor


def is_main() -> bool:
    """Whether this process writes files and shows progress."""
    return dist.get_rank() == 0


def progress() -> 'Progress':
    """Progress bar on the standard error of the first process."""
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    quiet = not is_main() or os.environ.get('MMGCP_NO_PROGRESS') == '1'
    return Progress(
        *Progress.get_default_columns()[:-1],
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
        transient=True,
    )


def track(items: Iterable[T], description: str, total: int | None = None) -> Any:
    """Iterate with a progress bar."""
    with progress() as bar:
        yield from bar.track(items, total=total, description=description)

"""Process groups, on a machine without a GPU too, and what ranks tell each other."""

import datetime
import gc
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from mmengine import dist as mmdist

from mmgcp.utils.errors import UserError

T = TypeVar('T')


class LauncherError(UserError):
    """The processes were not started by the launcher that was named."""


# Ranks notice a dead peer by its closed connection, at once; the limit is for
# one that hangs.
TIMEOUT_S = 1800


def _slurm_environment() -> None:
    """Set torch's variables from those of ``srun``."""
    environ = os.environ
    nodes = environ['SLURM_NODELIST']
    host = subprocess.run(
        ['scontrol', 'show', 'hostnames', nodes],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    environ.setdefault('MASTER_ADDR', host)
    # One port per job, so that jobs on one node do not meet.
    environ.setdefault('MASTER_PORT', str(20000 + int(environ['SLURM_JOB_ID']) % 20000))
    environ['RANK'] = environ['SLURM_PROCID']
    environ['WORLD_SIZE'] = environ['SLURM_NTASKS']
    environ['LOCAL_RANK'] = environ['SLURM_LOCALID']


def init_cpu_group(launcher: str, dist_cfg: Mapping) -> None:
    """Join a gloo process group when there is no GPU; do nothing otherwise.

    mmengine's launchers select a CUDA device first and fail on a machine without
    one. A group that exists already is the one its Runner uses.

    Args:
        launcher: ``'none'``, ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.
        dist_cfg: ``env_cfg.dist_cfg``; ``timeout`` (seconds) is used.

    Raises:
        LauncherError: The variables of the launcher are not set.
    """
    if launcher not in ('pytorch', 'slurm') or torch.cuda.is_available():
        return
    if dist.is_initialized():
        return
    if launcher == 'slurm':
        if 'SLURM_PROCID' not in os.environ:
            raise LauncherError(
                '--launcher slurm: SLURM_PROCID is not set. Start it with srun, '
                'or through tools/slurm_train.sh'
            )
        _slurm_environment()
    missing = [
        key for key in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK') if key not in os.environ
    ]
    if missing:
        raise LauncherError(
            f'--launcher {launcher}: {", ".join(missing)} not set. Start it with '
            'torchrun, or through tools/dist_train.sh'
        )
    timeout = datetime.timedelta(seconds=int(dist_cfg.get('timeout', TIMEOUT_S)))
    dist.init_process_group('gloo', timeout=timeout)


def leave_group() -> None:
    """Leave the process group, once every process has come this far.

    A process that ends while its threads still talk to another aborts, although
    its work is done. One that fails must not come here: it would wait for the
    others, and they for it. It just ends, and they notice its closed connection.
    """
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        # A model in data parallelism holds the group, in cycles of references.
        gc.collect()
        dist.destroy_process_group()


def start(launcher: str = 'none') -> None:
    """Join the process group when the tool was started by a launcher.

    Args:
        launcher (str): ``'none'``, ``'pytorch'`` (torchrun) or ``'slurm'``.
    """
    if launcher == 'none' or mmdist.is_distributed():
        return
    init_cpu_group(launcher, {})
    if torch.cuda.is_available():
        mmdist.init_dist(launcher, backend='nccl')


def mine(items: Sequence[T]) -> list[T]:
    """Share of this process: every world-size-th item from its rank on."""
    rank, world = mmdist.get_dist_info()
    return list(items[rank::world])


def interleave(parts: Sequence[Sequence[T]]) -> list[T]:
    """Undo :func:`mine`: the items of all processes in their first order."""
    longest = max(map(len, parts))
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def gather(items: Sequence[T]) -> list[T]:
    """All processes' results, in the order that :func:`mine` split."""
    return interleave(mmdist.all_gather_object(list(items)))


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
    if mmdist.get_world_size() > 1 and not _local:
        device = mmdist.get_comm_device()
        total = tensor.to(device).contiguous()
        mmdist.all_reduce(total, 'sum')
        return total.to(tensor.device)
    return tensor


def is_main() -> bool:
    """Whether this process writes files and shows progress."""
    return mmdist.get_rank() == 0

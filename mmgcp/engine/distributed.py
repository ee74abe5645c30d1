"""Process groups, on a machine without a GPU too, and what ranks tell each other."""

import datetime
import gc
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from mmengine import dist as mmdist

from mmgcp.utils.errors import UserError

T = TypeVar('T')


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


def join_group(launcher: str, dist_cfg: Mapping | None = None) -> None:
    """Join the process group of a launcher, unless that is done.

    mmengine's launchers select a CUDA device first and fail on a machine without one,
    where this joins a gloo group. mmengine's Runner uses the group that exists.

    Args:
        launcher: ``'none'``, ``'pytorch'`` (torchrun), ``'slurm'`` or ``'mpi'``.
        dist_cfg: ``env_cfg.dist_cfg``; on a CPU ``timeout`` (seconds) alone is used.
    """
    if launcher == 'none' or dist.is_initialized():
        return
    if launcher == 'slurm' and 'SLURM_PROCID' not in os.environ:
        raise UserError(
            '--launcher slurm: SLURM_PROCID is not set. Start it with srun, or through '
            'tools/slurm_train.sh'
        )
    if torch.cuda.is_available() or launcher == 'mpi':
        mmdist.init_dist(launcher, **(dist_cfg or {}))
        return
    if launcher == 'slurm':
        _slurm_environment()
    names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise UserError(
            f'--launcher {launcher}: {", ".join(missing)} not set. Start it with '
            'torchrun, or through tools/dist_train.sh'
        )
    seconds = int((dist_cfg or {}).get('timeout', TIMEOUT_S))
    dist.init_process_group('gloo', timeout=datetime.timedelta(seconds=seconds))


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


def mine(items: Sequence[T]) -> list[T]:
    """Share of this process: every world-size-th item from its rank on."""
    rank, world = mmdist.get_dist_info()
    return list(items[rank::world])


def gather(items: Sequence[T]) -> list[T]:
    """All processes' results, in the order that :func:`mine` split."""
    parts = mmdist.all_gather_object(list(items))
    longest = max(map(len, parts))
    return [part[i] for i in range(longest) for part in parts if i < len(part)]


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over all processes; with one process, return it."""
    if mmdist.get_world_size() > 1:
        device = mmdist.get_comm_device()
        total = tensor.to(device).contiguous()
        mmdist.all_reduce(total, 'sum')
        return total.to(tensor.device)
    return tensor


def is_main() -> bool:
    """Whether this process writes files and shows progress."""
    return mmdist.get_rank() == 0

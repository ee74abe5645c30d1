"""Eigendecompositions of many symmetric matrices, shared over the threads of a CPU.

torch decomposes the matrices of a batch one after the other, with all threads on each.
Matrices of a few hundred rows give threads little to share and make them wait for each
other at every step; a matrix per thread has neither trouble.
"""

import itertools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from .dispatch import compiling, observed

# Rows from which handing a matrix to a thread costs less than it saves.
SMALLEST = 32
# By process, for threads do not survive a fork, and by number of threads.
_POOLS: dict[tuple[int, int], ThreadPoolExecutor] = {}


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first look takes the number of the process


def _pool(threads: int) -> ThreadPoolExecutor:
    key = os.getpid(), threads
    if key not in _POOLS:
        pool = ThreadPoolExecutor(threads, 'mmgcp-eigh', _use_one_thread)
        # The number is that of the thread that sets it and of threads to come, which
        # shall have ours: start all workers, then set it again.
        together = threading.Barrier(threads)
        list(pool.map(lambda _: together.wait(), range(threads)))
        torch.set_num_threads(threads)
        _POOLS[key] = pool
    return _POOLS[key]


def eigh(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """``torch.linalg.eigh`` of ``(B, n, n)``, without a gradient.

    Returns:
        Eigenvalues ``(B, n)``, ascending, and eigenvectors ``(B, n, n)`` in columns.

    Raises:
        torch.linalg.LinAlgError: LAPACK does not converge, as it may where an entry is
            not finite.
    """
    batch, n = matrices.shape[:2]
    small = batch < 2 or n < SMALLEST or matrices.device.type != 'cpu'
    alone = small or compiling() or observed() or type(matrices) is not Tensor
    threads = 1 if alone else torch.get_num_threads()
    if threads == 1:
        return torch.linalg.eigh(matrices)
    values, vectors = matrices.new_empty(batch, n), torch.empty_like(matrices)

    def decompose(part):
        values[part], vectors[part] = torch.linalg.eigh(matrices[part])

    number = min(threads, batch)
    ends = [batch * k // number for k in range(number + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(ends)]
    list(_pool(threads).map(decompose, parts))
    return values, vectors

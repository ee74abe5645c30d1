"""Decompositions shared over threads are those of torch, and leave threads alone."""

import threading

import pytest
import torch

from mmgcp.layers import batched_eigh
from mmgcp.layers.batched_eigh import eigh

from .common import features, relative


def covariances(batch, n, **kwargs):
    x = features(batch, n, n + 9, **kwargs)
    return torch.bmm(x, x.transpose(1, 2))


@pytest.mark.parametrize('threads', [1, 2, 3])
@pytest.mark.parametrize('batch', [1, 2, 7])
@pytest.mark.parametrize('n', [8, 40])
def test_values_and_vectors(threads, batch, n):
    matrices = covariances(batch, n)
    torch.set_num_threads(threads)
    values, vectors = eigh(matrices)
    assert relative(values, torch.linalg.eigvalsh(matrices)) < 1e-13
    product = vectors @ (values.unsqueeze(2) * vectors.transpose(1, 2))
    assert relative(product, matrices) < 1e-12


def test_numbers_of_threads_stay():
    torch.set_num_threads(2)
    eigh(covariances(4, 40))
    assert torch.get_num_threads() == 2
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [2]
    pools = [pool for (_, n), pool in batched_eigh._POOLS.items() if n == 2]
    assert [pool.submit(torch.get_num_threads).result() for pool in pools] == [1]


def test_an_entry_that_is_not_finite():
    """LAPACK says so or computes with it; the other matrices keep their values."""
    matrices = covariances(4, 40)
    matrices[3] = float('nan')
    torch.set_num_threads(2)
    try:
        values, _ = eigh(matrices)
    except torch.linalg.LinAlgError:
        return
    assert values[3].isnan().any()
    assert relative(values[:3], torch.linalg.eigvalsh(matrices[:3])) < 1e-13


def test_counters_see_the_operator():
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    torch.set_num_threads(2)
    with Record():
        eigh(covariances(4, 40))
    assert any('linalg_eigh' in name for name in seen)

"""Random numbers: give them a seed for a moment, leave them as they were."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore every generator (python, numpy, torch, CUDA) on leaving."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def hashed_seed(*parts: object) -> int:
    """A seed of 32 bits; neighboring numbers give seeds that share no draws."""
    text = '/'.join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], 'big')


def seed_all(seed: int) -> None:
    """Seed every generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed every generator inside the block and restore it afterwards."""
    with preserved_random_state():
        seed_all(seed)
        yield

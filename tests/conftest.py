"""What every test shares: quiet waiting threads and a fresh default scope."""

import os
import signal

# Before torch is imported: waiting threads that spin stall a shared machine.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('MPLBACKEND', 'Agg')
# Started in the background of a script, a process ignores Ctrl-C, and so would all that
# the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No test may reach for a network; hubs then fail at once instead of hanging.
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _same_start():
    import torch

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _no_leaking_scope():
    """A test that builds a Runner leaves a default scope behind for the next one."""
    yield
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()

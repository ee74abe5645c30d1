import pytest


@pytest.fixture(autouse=True)
def _on_the_device(device):
    """Every test of this folder runs on the device of ``--device``."""

import pytest
from mmengine.registry import DefaultScope

from mmgcp.utils.config import FRAMEWORKS


@pytest.fixture
def in_scope():
    """Context manager that sets the default scope as a Runner does."""
    return DefaultScope.overwrite_default_scope


@pytest.fixture(params=FRAMEWORKS)
def framework(request, in_scope):
    pytest.importorskip(f'{request.param}.models')
    with in_scope(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def _on_the_device(device):
    """Every test of this folder runs on the device of ``--device``."""

"""What every test shares: quiet waiting threads and a fresh default scope."""

import contextlib
import logging
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

# Before torch is imported: waiting threads that spin stall a shared machine.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('MPLBACKEND', 'Agg')
# Started in the background of a script, a process ignores Ctrl-C, and so would all that
# the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No test may reach for a network; hubs then fail at once instead of hanging.
os.environ.setdefault('HF_HUB_OFFLINE', '1')

import pytest  # noqa: E402

TOOLS = Path(__file__).parents[1] / 'tools'


def pytest_addoption(parser):
    text = 'where layers, models and weights are tested: cpu (the default) or cuda'
    parser.addoption('--device', choices=('cpu', 'cuda'), default='cpu', help=text)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One more than there are processors: some tests wait for a cluster or a process."""
    return (os.cpu_count() or 1) + 1


def pytest_configure(config):
    if config.getoption('--device') != 'cpu':
        from mmgcp.utils.device import pick_device
        from mmgcp.utils.errors import UserError

        try:
            pick_device(config.getoption('--device'))
        except UserError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config, items):
    if config.getoption('--device') == 'cpu':
        for item in items:
            if item.get_closest_marker('gpu'):
                item.add_marker(pytest.mark.skip(reason='needs a GPU: --device cuda'))


@pytest.fixture
def device(request):
    """Where the test computes: what is made without naming a device is made there."""
    name = request.config.getoption('--device')
    if name == 'cpu':
        yield name
        return
    import torch

    # Convolutions in TF32 agree to three digits only.
    exact = dict(enabled=True, deterministic=True, allow_tf32=False)
    with torch.device(name), torch.backends.cudnn.flags(**exact):
        yield name


@pytest.fixture(autouse=True)
def _same_start():
    import torch

    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def forget_runners():
    """Forget what mmengine's Runners leave behind: loggers, visualizers, scopes.

    Two Runners of one config in one second would share them.
    """
    if 'mmengine' not in sys.modules:  # the layers need torch alone
        return
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import DefaultScope
    from mmengine.visualization import Visualizer

    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            if isinstance(handler, logging.FileHandler):
                # What it still holds may not fit the disk, as at any exit.
                with contextlib.suppress(OSError):
                    handler.close()
    visualizers = [Visualizer, *Visualizer.__subclasses__()]
    for kind in (MMLogger, MessageHub, DefaultScope, *visualizers):
        kind._instance_dict.clear()


@pytest.fixture(name='forget_runners')
def _forget_runners():
    return forget_runners


@pytest.fixture(autouse=True)
def _no_runner_is_left():
    yield
    forget_runners()


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def run_tool(capsys, monkeypatch, forget_runners):
    """Run ``tools/NAME.py`` with arguments as the command line would."""

    def run(name, *arguments):
        path = TOOLS / f'{name}.py'
        argv = [str(path), *(str(argument) for argument in arguments)]
        monkeypatch.setattr(sys, 'argv', argv)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(path), run_name='__main__')
        forget_runners()
        captured = capsys.readouterr()
        return Done(left.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope='session')
def scenes_folder(tmp_path_factory):
    from mmgcp.datasets.scenes import ScenesSpec, make_scenes

    folder = tmp_path_factory.mktemp('data') / 'scenes'
    sizes = dict(train=6, val=2, test=3, size=64, crops=1, eval_crops=1, digits=10)
    make_scenes(folder, ScenesSpec(**sizes))
    return folder


@pytest.fixture
def scenes(scenes_folder, monkeypatch):
    """The scenes that the configs find in their environment variable."""
    monkeypatch.setenv('MMGCP_SCENES', str(scenes_folder))
    return scenes_folder

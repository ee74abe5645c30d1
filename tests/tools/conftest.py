"""Running the commands in this process, on scenes that are small and real."""

import contextlib
import logging
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
CONFIGS = {
    'classifier': ROOT / 'configs/pretrain/resnet18-w16-isqrt_scenes.py',
    'gap': ROOT / 'configs/pretrain/resnet18-w16-gap_scenes.py',
    'dropcov': ROOT / 'configs/pretrain/resnet18-w16-dropcov_scenes.py',
    'detector': ROOT / 'configs/detection/mask-rcnn_r18-w16_fpn_scenes.py',
    'segmenter': ROOT / 'configs/segmentation/upernet_r18-w16_scenes.py',
    'sem-fpn': ROOT / 'configs/segmentation/fpn_r18-w16_scenes.py',
}


@dataclass
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def run_tool(capsys, monkeypatch):
    """Run ``tools/NAME.py`` with arguments as the command line would."""

    def run(name, *arguments):
        path = TOOLS / f'{name}.py'
        argv = [str(path), *(str(argument) for argument in arguments)]
        monkeypatch.setattr(sys, 'argv', argv)
        capsys.readouterr()
        with forgotten_loggers(), pytest.raises(SystemExit) as left:
            runpy.run_path(str(path), run_name='__main__')
        captured = capsys.readouterr()
        return Done(left.value.code, captured.out, captured.err)

    return run


@contextlib.contextmanager
def forgotten_loggers():
    """mmengine's loggers keep the stream of the test that made them."""
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.visualization import Visualizer

    try:
        yield
    finally:
        for logger in MMLogger._instance_dict.values():
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
                if isinstance(handler, logging.FileHandler):
                    # What it still holds may not fit the disk, as at any exit.
                    with contextlib.suppress(OSError):
                        handler.close()
        for kind in (MMLogger, MessageHub, Visualizer):
            kind._instance_dict.clear()


@pytest.fixture(scope='session')
def scenes_folder(tmp_path_factory):
    from mmgcp.datasets.scenes import ScenesSpec, make_scenes

    folder = tmp_path_factory.mktemp('data') / 'scenes'
    spec = ScenesSpec(train=6, val=2, test=3, size=64, crops=1, eval_crops=1)
    make_scenes(folder, spec)
    return folder


@pytest.fixture
def scenes(scenes_folder, monkeypatch):
    """The scenes that the configs find in their environment variable."""
    monkeypatch.setenv('MMGCP_SCENES', str(scenes_folder))
    return scenes_folder


@pytest.fixture(scope='session')
def checkpoint_of(tmp_path_factory):
    """A checkpoint as a training run leaves it, for each config; made once."""
    import torch

    from mmgcp.utils.config import load_config
    from mmgcp.weights.trained_model import load_trained_model

    folder = tmp_path_factory.mktemp('checkpoints')

    def make(kind, seed=0):
        path = folder / f'{kind}-{seed}.pth'
        if not path.exists():
            torch.manual_seed(seed)
            model = load_trained_model(load_config(CONFIGS[kind]), 'none')
            # Statistics of a trained network: features keep their scale through
            # the stages, and no norm is at its initial values.
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    torch.nn.init.uniform_(module.weight, 0.8, 1.2)
                    torch.nn.init.normal_(module.bias, std=0.1)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            for parameter in model.parameters():
                parameter.grad = torch.full_like(parameter, 1e-3)
            optimizer.step()
            state = {name: value.clone() for name, value in model.state_dict().items()}
            torch.save(
                {
                    'state_dict': state,
                    'optimizer': optimizer.state_dict(),
                    'meta': {'epoch': 3, 'dataset_meta': {'classes': ['a', 'b']}},
                },
                path,
            )
        return path

    return make

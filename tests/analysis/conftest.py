"""A few scenes, and a run per framework with random weights."""

from pathlib import Path

import pytest
import torch

CONFIGS = Path(__file__).parents[2] / 'configs'
# Encoder, pooling head and task: one config of the project per framework.
NAMES = {
    'mmpretrain': 'pretrain/resnet18-w8-isqrt_scenes.py',
    'mmdet': 'detection/faster-rcnn_r18-w8_fpn_scenes.py',
    'mmseg': 'segmentation/upernet_r18-w8_scenes.py',
}


@pytest.fixture(scope='session')
def data_root(tmp_path_factory) -> Path:
    """Small scenes in the folders that the configs read."""
    pytest.importorskip('sklearn')
    from mmgcp.datasets.scenes import ScenesSpec, make_scenes

    root = tmp_path_factory.mktemp('data') / 'scenes'
    counts = dict(train=4, val=1, test=4, crops=1, eval_crops=1, digits=5)
    make_scenes(root, ScenesSpec(**counts, size=64, crop_size=48))
    return root


@pytest.fixture
def spec_of(data_root, tmp_path, monkeypatch):
    """Make a run of a framework: a config of the project and a checkpoint."""
    from mmgcp.analysis.sample import Settings, load_run
    from mmgcp.utils.run_specs import RunSpec

    monkeypatch.setenv('MMGCP_SCENES', str(data_root))
    monkeypatch.setenv('MMGCP_NO_PROGRESS', '1')

    def make(framework: str, label: str | None = None, seed: int = 0) -> RunSpec:
        pytest.importorskip(framework)
        config = str(CONFIGS / NAMES[framework])
        label = label or framework
        settings = Settings(seed=seed, device='cpu')
        model = load_run(RunSpec(config, 'none', label), settings).model
        # Residual branches start at zero, and with them every gradient there.
        for name, parameter in model.named_parameters():
            if name.endswith(('bn1.weight', 'bn2.weight')):
                parameter.data.fill_(1.0)
        path = tmp_path / f'{label}.pth'
        torch.save({'state_dict': model.state_dict()}, path)
        return RunSpec(config, str(path), label)

    return make

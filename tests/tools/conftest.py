"""Configs and checkpoints that the commands are tried on."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'
CONFIGS = {
    'classifier': ROOT / 'configs/pretrain/resnet18-w8-isqrt_scenes.py',
    'gap': ROOT / 'configs/pretrain/resnet18-w8-gap_scenes.py',
    'dropcov': ROOT / 'configs/pretrain/resnet18-w8-dropcov_scenes.py',
    'detector': ROOT / 'configs/detection/mask-rcnn_r18-w8_fpn_scenes.py',
    'segmentor': ROOT / 'configs/segmentation/upernet_r18-w8_scenes.py',
    'sem-fpn': ROOT / 'configs/segmentation/fpn_r18-w8_scenes.py',
}


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

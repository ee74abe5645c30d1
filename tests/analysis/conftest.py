"""A handful of pictures in the layout of scenes, and a run per framework."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

CONFIGS = Path(__file__).parents[2] / 'configs'
# Encoder, pooling head and task: one config of the project per framework.
NAMES = {
    'mmpretrain': 'pretrain/resnet18-w16-isqrt_scenes.py',
    'mmdet': 'detection/faster-rcnn_r18-w16_fpn_scenes.py',
    'mmseg': 'segmentation/upernet_r18-w16_scenes.py',
}
IMAGES = 4


def picture(seed: int, size: int) -> np.ndarray:
    """Noise with a bright square, ``(size, size, 3)``."""
    pixels = np.random.default_rng(seed).integers(0, 120, (size, size, 3))
    pixels[size // 4 : size // 2, size // 4 : size // 2] += 130
    return pixels.astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope='session')
def data_root(tmp_path_factory) -> Path:
    """Noise pictures in the folders that the configs for scenes read."""
    root = tmp_path_factory.mktemp('scenes')
    folders = {'train': 'training', 'val': 'validation', 'test': 'test'}
    for split, folder in folders.items():
        for label in range(10):
            path = root / 'classification' / split / str(label)
            save(path / 'a.png', picture(label, 48))
        images, boxes = [], []
        for i in range(IMAGES):
            pixels = picture(100 + i, 64)
            name = f'{i}.png'
            save(root / 'detection' / split / name, pixels)
            save(root / 'segmentation' / 'images' / folder / name, pixels)
            truth = np.zeros((64, 64), np.uint8)
            truth[16:48, 16:48] = i + 1
            save(root / 'segmentation' / 'annotations' / folder / name, truth)
            images.append({'id': i, 'file_name': name, 'width': 64, 'height': 64})
            boxes.append(
                {
                    'id': i + 1,
                    'image_id': i,
                    'category_id': i,
                    'bbox': [16, 16, 32, 32],
                    'area': 1024,
                    'iscrowd': 0,
                    'segmentation': [[16, 16, 48, 16, 48, 48, 16, 48]],
                }
            )
        content = {
            'images': images,
            'annotations': boxes,
            'categories': [{'id': c, 'name': str(c)} for c in range(10)],
        }
        path = root / 'detection' / 'annotations' / f'instances_{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


@pytest.fixture
def spec_of(data_root, tmp_path, monkeypatch):
    """Make a run of a framework: a config of the project and a checkpoint."""
    from mmgcp.analysis.runs import RunSpec, load_run

    monkeypatch.setenv('MMGCP_SCENES', str(data_root))
    monkeypatch.setenv('MMGCP_NO_PROGRESS', '1')

    def make(framework: str, label: str | None = None, seed: int = 0) -> RunSpec:
        pytest.importorskip(framework)
        config = str(CONFIGS / NAMES[framework])
        label = label or framework
        fresh = load_run(RunSpec(config, 'none', label), device='cpu', seed=seed)
        # Residual branches start at zero, and with them every gradient there.
        for name, parameter in fresh.model.named_parameters():
            if name.endswith(('bn1.weight', 'bn2.weight')):
                parameter.data.fill_(1.0)
        path = tmp_path / f'{label}.pth'
        torch.save(
            {'state_dict': fresh.model.state_dict(), 'meta': {'iter': 8, 'epoch': 2}},
            path,
        )
        return RunSpec(config, str(path), label)

    return make

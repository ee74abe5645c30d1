"""Every config of the small studies trains a step and reaches its evaluator."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from zoo import CONFIGS, FOLDERS, SMALL

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.engine.training import build_runner, load_config

EVERY = [
    path
    for folder in FOLDERS
    for path in (CONFIGS / folder).glob('*.py')
    if path.stem.rpartition('_')[2] in SMALL
]


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    spec = ScenesSpec(train=2, val=1, test=1, size=96, crops=1, eval_crops=1, digits=5)
    make_scenes(out, spec)
    return out


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """Noise in the layout of the study on photographs."""
    root, draw = tmp_path_factory.mktemp('photographs'), np.random.default_rng(0)

    def save(name, *shape):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        high = 256 if len(shape) == 3 else 12
        Image.fromarray(draw.integers(0, high, shape, np.uint8)).save(path)

    for split, count in (('train', 3), ('val', 1), ('test', 1)):
        for index in range(10 * count):
            save(f'cifar10/{split}/{index % 10}/{index}.jpg', 32, 32, 3)
        images, boxes = [], []
        for index in range(min(count, 2)):
            save(f'bccd/{split}/{index}.jpg', 480, 640, 3)
            save(f'camvid/img/{split}/{index}.jpg', 240, 320, 3)
            save(f'camvid/ann/{split}/{index}.png', 240, 320)
            size = dict(width=640, height=480, file_name=f'{index}.jpg')
            images.append(dict(id=index, **size))
            box = dict(bbox=[100, 100, 100, 100], area=10000, iscrowd=0)
            boxes.append(dict(id=index + 1, image_id=index, category_id=1, **box))
        names = enumerate(('RBC', 'WBC', 'Platelets'), start=1)
        kinds = [dict(id=number, name=name) for number, name in names]
        content = dict(images=images, annotations=boxes, categories=kinds)
        (root / f'bccd/{split}.json').write_text(json.dumps(content))
    return root


@pytest.mark.parametrize('path', sorted(EVERY), ids=lambda path: path.stem)
def test_trains_a_step(path, scenes, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    monkeypatch.setenv('MMGCP_PHOTOGRAPHS', str(photographs))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    changes = {
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'train_dataloader.batch_size': 30 if path.parent.name == 'pretrain' else 2,
    }
    cfg = load_config(path, changes)
    cfg.work_dir, cfg.launcher = str(tmp_path), 'none'
    runner = build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
    runner.train()
    assert runner.iter == 1
    after = dict(runner.model.named_parameters())
    moved = [name for name in after if not torch.equal(after[name], before[name])]
    assert any(name.startswith('backbone.layer4') for name in moved)
    assert all(torch.isfinite(p).all() for p in after.values())
    assert any(key.startswith('val/') for key in runner.message_hub.log_scalars)


@pytest.mark.parametrize('name', ['isqrt', 'dropcov', 'gap-native'])
def test_pretraining_differs_from_gap_in_its_head_alone(name):
    gap = load_config(CONFIGS / 'pretrain/resnet18-w8-gap_scenes.py')
    other = load_config(CONFIGS / f'pretrain/resnet18-w8-{name}_scenes.py')
    assert other.model.backbone.last_stage == 'native'
    assert gap.model.backbone.last_stage == 'stride'
    for cfg in (gap, other):
        del cfg.model.neck, cfg.model.head.in_channels, cfg.model.backbone.last_stage
    assert gap.to_dict() == other.to_dict()

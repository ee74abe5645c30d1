"""Low-data and frozen overrides, on every config they are meant for."""

from pathlib import Path

import pytest
from mmengine.config import Config
from zoo import CONFIGS, config_files

OVERRIDES = CONFIGS / '_base_' / 'overrides'
FAMILY = {
    'mmgcp.GCPResNet': 'frozen_resnet',
    'mmpretrain.SwinTransformer': 'frozen_swin',
    'mmpretrain.VisionTransformer': 'frozen_vit',
    'mmgcp.SoViT': 'frozen_vit',
}


def overridden(path: Path, *names: str) -> Config:
    config = Config.fromfile(path)
    for name in names:
        config.merge_from_dict(Config.fromfile(OVERRIDES / f'{name}.py').to_dict())
    return config


@pytest.mark.parametrize('percent', ['1pct', '10pct'])
@pytest.mark.parametrize(
    ('folder', 'data'), [('detection', 'coco'), ('segmentation', 'ade20k')]
)
def test_low_data_reaches_the_training_set_of_every_config(folder, data, percent):
    for path in config_files(folder):
        plain, config = Config.fromfile(path), overridden(path, f'{data}_{percent}')
        train, plain_train = config.train_dataloader, plain.train_dataloader
        assert f'_{percent}_seed0' in train.dataset.ann_file
        # Every data set is the innermost one: a wrapper would not know `ann_file`.
        assert 'dataset' not in train.dataset
        assert train.dataset.pipeline == plain_train.dataset.pipeline
        assert config.val_dataloader == plain.val_dataloader
        assert config.val_evaluator == plain.val_evaluator


def one_per_family() -> list[Path]:
    chosen = {}
    for folder in ('detection', 'segmentation'):
        for path in config_files(folder):
            backbone = Config.fromfile(path).model.backbone
            chosen.setdefault((folder, backbone.type, backbone.get('depth')), path)
    return list(chosen.values())


@pytest.mark.parametrize('path', one_per_family(), ids=lambda path: path.stem)
def test_a_frozen_encoder_learns_nothing(path):
    pytest.importorskip('mmcv.ops')
    config = Config.fromfile(path)
    config = overridden(path, FAMILY[config.model.backbone.type])
    framework = config.default_scope
    pytest.importorskip(framework)
    from mmengine.registry import MODELS, init_default_scope

    init_default_scope(framework)
    encoder = MODELS.build({**config.model.backbone, 'init_cfg': None})
    encoder.train()
    assert [n for n, p in encoder.named_parameters() if p.requires_grad] == []
    batch_norms = [m for m in encoder.modules() if 'BatchNorm' in type(m).__name__]
    assert not any(module.training for module in batch_norms)


def test_every_encoder_has_a_frozen_override():
    for folder in ('detection', 'segmentation'):
        for path in config_files(folder):
            assert Config.fromfile(path).model.backbone.type in FAMILY, path.name

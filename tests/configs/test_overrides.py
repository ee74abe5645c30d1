"""Low-data and frozen overrides, on every config they are meant for."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from zoo import CONFIGS, ROOT, config_files

from mmgcp.utils.overrides import OverrideError, override_options

OVERRIDES = CONFIGS / '_base_' / 'overrides'
FAMILY = {
    'mmgcp.GCPResNet': 'frozen_resnet',
    'mmpretrain.SwinTransformer': 'frozen_swin',
    'mmpretrain.VisionTransformer': 'frozen_vit',
    'mmgcp.SoViT': 'frozen_vit',
}


def overridden(path: Path, *names: str) -> Config:
    config = Config.fromfile(path)
    config.merge_from_dict(override_options(names, OVERRIDES))
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


def test_overrides_combine_and_unknown_ones_name_the_known():
    options = override_options(
        ['coco_10pct', str(OVERRIDES / 'frozen_resnet.py')], OVERRIDES
    )
    assert options == {
        'train_dataloader.dataset.ann_file': (
            'annotations/instances_train2017_10pct_seed0.json'
        ),
        'model.backbone.frozen_stages': 4,
    }
    with pytest.raises(OverrideError, match='frozen_swin'):
        override_options(['frozen_cat'], OVERRIDES)


def test_train_takes_overrides(tmp_path):
    """Training ends at once for want of the subset, which shows it was asked for."""
    (tmp_path / 'val2017').mkdir()
    (tmp_path / 'val2017' / '1.jpg').write_bytes(b'image')
    config = CONFIGS / 'detection' / 'faster-rcnn_r50-gap_fpn_1x_coco.py'
    command = [sys.executable, ROOT / 'tools' / 'train.py', config]
    command += ['--override', 'coco_10pct', 'frozen_resnet', '--cfg-options']
    command += [f'train_dataloader.dataset.data_root={tmp_path}']
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 1
    assert 'instances_train2017_10pct_seed0.json' in result.stderr
    assert 'docs/detection.md' in result.stderr
    assert 'Traceback' not in result.stderr

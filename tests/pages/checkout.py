"""A checkout to run the pages' commands in: short configs, tiny data, small files."""

import shutil
from pathlib import Path

from mmengine.config import Config

from .reading import ROOT

# Of the sizes of images, by folder of configs.
FACTORS = {'pretrain': 4, 'detection': 12, 'segmentation': 16}


def make_checkout(folder: Path, configs: set[str]) -> None:
    """Lay out a checkout; of it all is that of the repository but some configs.

    Args:
        folder: Where.
        configs: The configs to shorten, such as ``'configs/pretrain/NAME.py'``.
    """
    for name in ('mmgcp', 'tools', 'tests', 'Makefile', 'pyproject.toml'):
        _link(folder / name, ROOT / name)
    for source in sorted((ROOT / 'configs').iterdir()):
        target = folder / 'configs' / source.name
        if source.name.startswith('_') or source.name == 'studies':
            _link(target, source)
            continue
        for config in source.iterdir():
            if f'configs/{source.name}/{config.name}' not in configs:
                _link(target / config.name, config)
    for name in configs:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        factor = FACTORS.get(path.parent.name, 1)
        factor = 1 if path.stem.endswith('_scenes') else factor
        path.write_text(as_text(shortened(Config.fromfile(ROOT / name), factor)))
    # It writes beside itself.
    (folder / 'docs/figures').mkdir(parents=True)
    shutil.copy(ROOT / 'docs/figures/concepts.py', folder / 'docs/figures')


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def shortened(config: Config, factor: int) -> Config:
    """One epoch of a few images, which are small; the model is that of the config.

    Args:
        config: A config, which is changed.
        factor: What sizes are divided by; 1 for scenes, which are small.
    """
    from tiny_run import _keep_detections, shrink

    scenes = factor == 1
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        if not scenes:
            loader.dataset.pipeline = shrink(loader.dataset.pipeline, factor)
            loader.dataset.indices = 2 if name == 'train' else 1
    if config.train_cfg.get('type') == 'IterBasedTrainLoop':
        config.train_cfg.update(max_iters=1, val_interval=10)
        size = config.model.data_preprocessor.size
        config.model.data_preprocessor.size = tuple(side // factor for side in size)
    else:
        config.train_cfg.update(max_epochs=1, val_interval=1 if scenes else 10)
    if scenes:
        config.train_dataloader.dataset.indices = 4
    else:
        # A ResNet-50 detector with its optimiser is 350 MB.
        config.default_hooks.checkpoint = None
        if config.default_scope == 'mmdet':
            _keep_detections(config.model)
    return config


def as_text(config: Config) -> str:
    """The text of a config without ``_base_``."""
    values = config.to_dict()
    return ''.join(f'{name} = {value!r}\n' for name, value in values.items())

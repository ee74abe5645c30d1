"""One training step and one evaluation of a full-size config on a few small images.

Images shrink, and with them every size a pipeline names; the model does not.
"""

import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from zoo import CONFIGS

SIZES = ('scale', 'scales', 'crop_size')


def shrink(value: Any, factor: int, inside: bool = False) -> Any:
    """Divide every size in a pipeline by a factor."""
    if isinstance(value, dict):
        items = value.items()
        return ConfigDict({k: shrink(v, factor, k in SIZES) for k, v in items})
    if isinstance(value, list | tuple):
        return type(value)(shrink(item, factor, inside) for item in value)
    return max(1, value // factor) if inside else value


def pretrain_config_of(checkpoint: str) -> Path:
    """The config that trains the encoder which a transfer config asks for."""
    found = sorted((CONFIGS / 'pretrain').glob(f'{Path(checkpoint).stem}_*_in1k.py'))
    return found[-1]  # lrnorm, where there are several


def encoder_file(config: Config, path: Path) -> Path:
    """Write a random encoder as the pre-training of a config ends with."""
    from mmpretrain.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        encoder = MODELS.build({**config.model.backbone, 'init_cfg': None})
    torch.save({'state_dict': encoder.state_dict(), 'meta': {}}, path)
    return path


class Watch(Hook):
    """Keeps the state before the training, the loss, and what got no gradient."""

    def before_train(self, runner: Runner) -> None:
        state = runner.model.state_dict()
        self.before = {name: tensor.clone() for name, tensor in state.items()}
        self.idle = set()
        for name, parameter in runner.model.named_parameters():
            if parameter.requires_grad:
                self.idle.add(name)
                parameter.register_hook(lambda _, name=name: self.idle.discard(name))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.loss = outputs['loss'].item()


def tiny(config: Config, data: Path, encoder: Path, work_dir: Path, factor: int):
    """Change a config to read the samples, stop after a step and write nothing."""
    for name in ('train', 'val', 'test'):
        loader = config[f'{name}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        loader.dataset.update(data_root=f'{data}{os.sep}', serialize_data=False)
        loader.dataset.pipeline = shrink(loader.dataset.pipeline, factor)
        if name != 'train':
            loader.dataset.indices = 1
            evaluator = config[f'{name}_evaluator']
            if 'ann_file' in evaluator:
                evaluator.ann_file = str(data / 'annotations/instances_val2017.json')
    # One step: one epoch of two images, or one iteration.
    if config.train_cfg.get('type') == 'IterBasedTrainLoop':
        config.train_cfg.update(max_iters=1, val_interval=10)
        size = config.model.data_preprocessor.size
        config.model.data_preprocessor.size = tuple(side // factor for side in size)
    else:
        config.train_cfg.update(max_epochs=1, val_interval=10)
        config.train_dataloader.dataset.indices = 2
    if config.default_scope == 'mmdet':
        _keep_detections(config.model)
    if config.default_scope == 'mmpretrain':
        config.model.backbone.init_cfg = dict(type='mmgcp.PretrainedEncoder')
    config.model.backbone.init_cfg.checkpoint = str(encoder)
    config.default_hooks.checkpoint = None
    config.work_dir, config.launcher = str(work_dir), 'none'
    return config


def _keep_detections(model: ConfigDict) -> None:
    """Few proposals, since the image is small, and all of an untrained head's boxes."""
    if 'roi_head' in model:
        model.train_cfg.rpn_proposal.max_per_img = 50
        model.test_cfg.rpn.max_per_img = 50
        stages = model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 32
    final = model.test_cfg.get('rcnn', model.test_cfg)
    final.max_per_img = 10
    if model.type == 'DINO':
        model.num_queries = 100  # there are fewer positions than its 900 to select
    else:
        final.score_thr = 0.0

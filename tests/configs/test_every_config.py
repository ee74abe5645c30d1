"""Every full-size model trains a step and infers, from a strict encoder file."""

import math
import re

import pytest
import torch
from mmengine.config import Config
from tiny_datasets import MAKERS
from tiny_run import Watch, encoder_file, pretrain_config_of, tiny
from zoo import FOLDERS, config_files, flat, read

pytest.importorskip('mmcv.ops')

from mmgcp.engine.training import build_runner
from mmgcp.models.backbones.sovit import ARCHES

# What a step depends on; schedules and data have tests of their own.
PARTS = ('model.', 'optim_wrapper.type', 'optim_wrapper.optimizer.type')
PIPELINES = ('train_dataloader.dataset.pipeline', 'test_dataloader.dataset.pipeline')
METRICS = {
    'pretrain': {'accuracy/top1', 'accuracy/top5'},
    'detection': {'coco/bbox_mAP'},
    'segmentation': {'mIoU', 'aAcc', 'mAcc'},
}
# Mostly what the models cost; attention over windows needs the size it was made for.
SHRINK = {'pretrain': 4, 'detection': 12, 'segmentation': 16}
FULL_SIZE = ('swin', 'deit')


def different_models() -> list:
    """One config for each model, for several differ in the encoder file alone.

    One of each detector, segmentor and encoder meets both stacks.
    """
    chosen, families = {}, set()
    for folder in FOLDERS:
        for path in config_files(folder):
            # Those of ResNet-101 are held against those of ResNet-50 elsewhere.
            if folder != 'pretrain' and '_r101-' in path.name:
                continue
            values = flat(read(path))
            key = frozenset(
                (name, str(value))
                for name, value in values.items()
                if name.startswith(PARTS + PIPELINES) and 'checkpoint' not in name
            )
            if key not in chosen:
                family = folder, re.split('[_-]', path.stem)[0]
                marks = [pytest.mark.once] if family in families else []
                families.add(family)
                chosen[key] = pytest.param(folder, path, id=path.stem, marks=marks)
    return list(chosen.values())


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    return {
        folder: make(tmp_path_factory.mktemp(folder) / 'data')
        for folder, make in MAKERS.items()
    }


@pytest.fixture(autouse=True)
def _short_log(monkeypatch):
    # Formatting the config and asking the compilers takes longer than most models.
    monkeypatch.setattr(Config, 'pretty_text', property(repr))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


@pytest.mark.parametrize(('folder', 'path'), different_models())
def test_a_step_and_an_inference(folder, path, data, tmp_path):
    pytest.importorskip(FOLDERS[folder])
    config = source = Config.fromfile(path)
    factor = SHRINK[folder]
    if folder != 'pretrain':
        source = read(pretrain_config_of(config.model.backbone.init_cfg.checkpoint))
    elif path.stem.startswith(FULL_SIZE):
        factor = 1
    elif path.stem.startswith('vit'):
        factor = 7  # two patches a side
    elif path.stem.startswith('sovit'):
        arch = ARCHES[config.model.backbone.arch]
        config.model.backbone.arch = {**arch, 'num_layers': 2}  # they are all alike
    if path.stem.startswith('dino'):
        factor = 6  # it selects among the positions of all levels
    encoder = encoder_file(source, tmp_path / 'encoder.pth')
    watch = Watch()

    runner = build_runner(tiny(config, data[folder], encoder, tmp_path, factor))
    runner.register_hook(watch)
    runner.train()
    trained = dict(runner.model.named_parameters())
    metrics = runner.test()
    # Its loops and hooks point back at it: models would pile up until a collection.
    vars(runner).clear()

    for name, tensor in torch.load(encoder, weights_only=True)['state_dict'].items():
        # timm's, in a classifier and in a pyramid
        names = (name, name.replace('timm_model.', 'net.'))
        here = next(n for n in names if f'backbone.{n}' in watch.before)
        assert torch.equal(watch.before[f'backbone.{here}'], tensor)
    head = {name for name in trained if not name.startswith('backbone.')}
    assert any(not torch.equal(trained[name], watch.before[name]) for name in head)
    assert math.isfinite(watch.loss)
    # Data parallelism waits for the gradient of every parameter.
    assert not watch.idle
    assert METRICS[folder] <= metrics.keys()

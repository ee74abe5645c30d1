"""A classifier is transferred with its pooling head; only the classifier is new."""

import math

import pytest
import torch
from mmengine.config import Config
from tiny_datasets import FINE_GRAINED
from tiny_run import Watch, tiny
from zoo import CONFIGS, flat, read

pytest.importorskip('mmpretrain')

from mmpretrain.registry import DATASETS

from mmgcp.engine.training import build_runner
from mmgcp.utils.config import load_config
from mmgcp.weights.trained_model import build_untrained

EVERY = sorted((CONFIGS / 'finetune').glob('*.py'))
#: One of each data set, of each pooling head, and a frozen one.
TRAINED = [
    'resnet50-isqrt_1xb10_cub',
    pytest.param('resnet50-gap_1xb10_cars', marks=pytest.mark.once),
    'resnet50-isqrt-frozen_1xb10_aircraft',
    pytest.param('resnet50-dropcov_8xb32_inat2017', marks=pytest.mark.once),
]


@pytest.mark.parametrize('name', TRAINED)
def test_a_step(name, tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', property(repr))
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    source, data = tmp_path / 'classifier.pth', name.rpartition('_')[2]
    pooling = name.split('_')[0].removesuffix('-frozen')
    ended = CONFIGS / f'pretrain/{pooling}_8xb32-lrnorm_in1k.py'
    ended = build_untrained(load_config(ended, {'model.head.num_classes': 10}))
    torch.save(ended.state_dict(), source)
    config = Config.fromfile(CONFIGS / f'finetune/{name}.py')
    if 'gap' not in name:
        config.model.neck.init_cfg.checkpoint = str(source)
    root = FINE_GRAINED[data](tmp_path / 'data')
    watch = Watch()
    runner = build_runner(tiny(config, root, source, tmp_path, 7))
    runner.register_hook(watch)
    runner.train()
    after = {n: t.clone() for n, t in runner.model.state_dict().items()}
    rates = {group['lr'] for group in runner.optim_wrapper.param_groups}
    metrics = runner.test()
    vars(runner).clear()

    kept = {n: t for n, t in ended.state_dict().items() if not n.startswith('head')}
    assert kept.keys() == {n for n in after if not n.startswith('head')}
    assert all(torch.equal(watch.before[name], kept[name]) for name in kept)
    moved = {n for n in after if not torch.equal(after[n], watch.before[n])}
    assert {'head.fc.weight', 'head.fc.bias'} <= moved
    neck = {n for n in moved if n.startswith('neck.')}
    assert bool(neck) == ('gap' not in name and 'frozen' not in name)
    if 'frozen' in name:
        assert moved == {'head.fc.weight', 'head.fc.bias'}
    if '1xb10' in name:  # the published ones
        assert sorted(rates) == pytest.approx([1.2e-3, 6e-3])
    assert math.isfinite(watch.loss)
    assert {'accuracy/top1', 'accuracy/top5'} <= metrics.keys()
    (log,) = tmp_path.rglob('*.log')
    said = 'The classifier is new: head.fc.bias, head.fc.weight of the file' in (
        log.read_text()
    )
    assert said == ('gap' not in name)


def test_every_pooling_head_meets_every_data_set_frozen_and_not():
    parts = [path.stem.split('_') for path in EVERY]
    heads = {f'resnet50-{pooling}' for pooling in ('gap', 'isqrt', 'dropcov')}
    heads |= {f'{head}-frozen' for head in heads}
    found = {(part[0], part[2]) for part in parts}
    assert found == {(head, data) for head in heads for data in FINE_GRAINED}
    assert len(EVERY) == len(found)


@pytest.mark.parametrize('path', EVERY, ids=lambda path: path.stem)
def test_classes_and_frozen_parts(path):
    config = read(path)
    classes = config.model.head.num_classes
    dataset = DATASETS.get(config.train_dataloader.dataset.type)
    metainfo = getattr(dataset, 'METAINFO', {})
    assert classes == len(metainfo.get('classes', range(5089)))
    assert classes == config.data_preprocessor.num_classes
    if '-frozen' in path.stem:
        free = flat(read(path.with_name(path.name.replace('-frozen', ''))))
        own = flat(config)
        changed = {name for name in own if own[name] != free.get(name)}
        frozen = {'model.backbone.frozen_stages', 'model.backbone.norm_eval'}
        if '-gap' not in path.stem:
            frozen.add('model.neck.frozen')
        assert changed == frozen

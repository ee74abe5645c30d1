"""The learning rate of every epoch or iteration, against the published formulas."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from zoo import CONFIGS, read

from mmgcp.engine.schedulers import PolynomialLR

EPOCH_LENGTH = 7


def sgd(lr: float) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates_of(config: Config) -> list[float]:
    """Learning rate in each epoch, or each iteration of iteration-wise schedules."""
    init_default_scope('mmpretrain')
    optimizer = sgd(config.optim_wrapper.optimizer.lr)
    entries = config.param_scheduler
    extra = dict(optimizer=optimizer, epoch_length=EPOCH_LENGTH)
    schedulers = [
        PARAM_SCHEDULERS.build(dict(entry), default_args=extra)
        for entry in (entries if isinstance(entries, list) else [entries])
    ]
    per_epoch = 1 if schedulers[0].by_epoch else EPOCH_LENGTH
    rates = []
    for _ in range(config.train_cfg.max_epochs * per_epoch):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def mobilenet_lradju(epoch: int) -> float:
    corners = {0: 0.06, 50: 0.01, 100: 1e-3, 150: 1e-5}
    first = min(epoch // 50 * 50, 100)
    start, end = corners[first], corners[first + 50]
    return start + (end - start) * (epoch - first) / 50


def transformer(epoch: int, rate: float = 1e-3) -> float:
    if epoch < 5:
        return 1e-6 + (rate - 1e-6) * epoch / 5
    if epoch >= 300:
        return 1e-5
    return 1e-5 + (rate - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) / 2


def shufflenet(epochs: int) -> tuple:
    total = epochs * EPOCH_LENGTH
    return total, lambda i: 0.5 * (1 - i / total), 1024, 4e-5


# Steps, learning rate at a step, total batch, weight decay.
RECIPES = {
    'resnet*lrnorm': (100, lambda e: 0.1 * 0.1 ** (e // 30), 256, 1e-4),
    'efficientnet*lrnorm': (100, lambda e: 0.1 * 0.1 ** (e // 30), 256, 1e-4),
    'resnet*lrfast': (30, lambda e: 0.1 * (1 - (e - 1) / 52) ** 11, 256, 1e-4),
    'resnet*lradju': (50, lambda e: 0.1 * (1 - (e - 1) / 49) ** 2, 256, 1e-4),
    'mobilenet*lrnorm': (400, lambda e: 0.045 * 0.98**e, 96, 4e-5),
    'mobilenet*lrfast': (100, lambda e: 0.06 * 0.92**e, 96, 4e-5),
    'mobilenet*lradju': (150, mobilenet_lradju, 192, 4e-5),
    'shufflenet*lrnorm': shufflenet(240),
    'shufflenet*lrfast': shufflenet(60),
    'shufflenet*lradju': shufflenet(100),
    '*8xb128': (310, transformer, 1024, 0.03),
    'sovit-base*8xb64': (310, lambda e: transformer(e, 5e-4), 512, 0.065),
}


@pytest.mark.parametrize('pattern', RECIPES)
def test_every_config_has_the_published_recipe(pattern):
    steps, formula, batch, decay = RECIPES[pattern]
    paths = sorted((CONFIGS / 'pretrain').glob(f'{pattern}_in1k.py'))
    assert paths
    compared = set()
    for path in paths:
        config = read(path)
        gpus = int(path.stem.split('_')[1].split('xb')[0])
        assert gpus * config.train_dataloader.batch_size == batch, path.name
        assert config.auto_scale_lr.base_batch_size == batch, path.name
        optimizer = config.optim_wrapper.optimizer
        assert optimizer.weight_decay == decay, path.name
        schedule = str((config.param_scheduler, optimizer.lr, config.train_cfg))
        if schedule not in compared:
            compared.add(schedule)
            expected = [formula(step) for step in range(steps)]
            assert rates_of(config) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_every_config_has_a_recipe():
    folder = CONFIGS / 'pretrain'
    named = {path for name in RECIPES for path in folder.glob(f'{name}_in1k.py')}
    assert named == set(folder.glob('*_in1k.py'))


def test_a_resumed_schedule_goes_on_exactly():
    def run(steps, *states):
        optimizer = sgd(0.3)
        parts = optimizer, PolynomialLR(optimizer, total=9, power=2)
        for part, state in zip(parts, states, strict=False):
            part.load_state_dict(state)
        for _ in range(steps):
            for part in parts:
                part.step()
        return optimizer.param_groups[0]['lr'], [part.state_dict() for part in parts]

    assert run(3, *run(4)[1])[0] == run(7)[0]
    assert run(20)[0] == 0

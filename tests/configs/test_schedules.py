"""The learning rate of every epoch or iteration, against the published formulas."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from zoo import CONFIGS

EPOCH_LENGTH = 7


def step_by_step(config: Config) -> list[float]:
    """Learning rate in each epoch, or each iteration of iteration-wise schedules."""
    init_default_scope('mmpretrain')
    lr = config.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    entries = config.param_scheduler
    entries = entries if isinstance(entries, list) else [entries]
    schedulers = [
        PARAM_SCHEDULERS.build(
            dict(entry),
            default_args=dict(optimizer=optimizer, epoch_length=EPOCH_LENGTH),
        )
        for entry in entries
    ]
    steps = config.train_cfg.max_epochs
    if not schedulers[0].by_epoch:
        steps *= EPOCH_LENGTH
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def linear(start: float, end: float, first: int, last: int, epoch: int) -> float:
    return start + (end - start) * (epoch - first) / (last - first)


def mobilenet_lradju(epoch: int) -> float:
    if epoch <= 50:
        return linear(0.06, 0.01, 0, 50, epoch)
    if epoch <= 100:
        return linear(0.01, 1e-3, 50, 100, epoch)
    return linear(1e-3, 1e-5, 100, 150, epoch)


def transformer(epoch: int) -> float:
    if epoch < 5:
        return linear(1e-6, 1e-3, 0, 5, epoch)
    if epoch >= 300:
        return 1e-5
    return 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * epoch / 300)) / 2


def shufflenet(epochs: int):
    total = epochs * EPOCH_LENGTH
    return total, lambda i: 0.5 * (1 - i / total)


FORMULAS = {
    'resnet*lrnorm': (100, lambda e: 0.1 * 0.1 ** (e // 30)),
    'resnet*lrfast': (30, lambda e: 0.1 * (1 - (e - 1) / 52) ** 11),
    'resnet*lradju': (50, lambda e: 0.1 * (1 - (e - 1) / 49) ** 2),
    'mobilenet*lrnorm': (400, lambda e: 0.045 * 0.98**e),
    'mobilenet*lrfast': (100, lambda e: 0.06 * 0.92**e),
    'mobilenet*lradju': (150, mobilenet_lradju),
    'shufflenet*lrnorm': shufflenet(240),
    'shufflenet*lrfast': shufflenet(60),
    'shufflenet*lradju': shufflenet(100),
    '*8xb128': (310, transformer),
}


@pytest.mark.parametrize('pattern', FORMULAS)
def test_every_learning_rate_is_the_formula(pattern):
    steps, formula = FORMULAS[pattern]
    paths = sorted((CONFIGS / 'pretrain').glob(f'{pattern}_in1k.py'))
    assert paths
    schedules = {}
    for path in paths:
        config = Config.fromfile(path)
        key = str((config.param_scheduler, config.optim_wrapper.optimizer.lr))
        schedules[key] = config
        assert (
            config.train_cfg.max_epochs
            == Config.fromfile(paths[0]).train_cfg.max_epochs
        )
    for config in schedules.values():
        rates = step_by_step(config)
        assert len(rates) == steps
        for step, rate in enumerate(rates):
            assert rate == pytest.approx(formula(step), rel=1e-9, abs=1e-15), step


def test_every_config_has_a_formula():
    named = {
        p
        for pattern in FORMULAS
        for p in (CONFIGS / 'pretrain').glob(f'{pattern}_in1k.py')
    }
    assert named == set((CONFIGS / 'pretrain').glob('*_in1k.py'))


@pytest.mark.parametrize(
    ('pattern', 'batch', 'decay'),
    [
        ('resnet*', 256, 1e-4),
        ('mobilenet*lrnorm', 96, 4e-5),
        ('mobilenet*lrfast', 96, 4e-5),
        ('mobilenet*lradju', 192, 4e-5),
        ('shufflenet*', 1024, 4e-5),
        ('*8xb128', 1024, 0.03),
    ],
)
def test_batch_and_weight_decay(pattern, batch, decay):
    for path in (CONFIGS / 'pretrain').glob(f'{pattern}_in1k.py'):
        config = Config.fromfile(path)
        gpus = int(path.stem.split('_')[1].split('xb')[0])
        assert gpus * config.train_dataloader.batch_size == batch, path.name
        assert config.auto_scale_lr.base_batch_size == batch, path.name
        assert config.optim_wrapper.optimizer.weight_decay == decay, path.name


def test_a_resumed_schedule_goes_on_exactly():
    from mmgcp.engine.schedulers import PolynomialLR

    def run(steps, state=None):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        scheduler = PolynomialLR(optimizer, total=9, power=2)
        if state:
            optimizer.load_state_dict(state[0])
            scheduler.load_state_dict(state[1])
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
        return optimizer, scheduler

    optimizer, scheduler = run(4)
    resumed, _ = run(3, (optimizer.state_dict(), scheduler.state_dict()))
    assert resumed.param_groups[0]['lr'] == run(7)[0].param_groups[0]['lr']
    assert run(20)[0].param_groups[0]['lr'] == 0


def test_wrong_lengths_are_refused():
    from mmgcp.engine.schedulers import PolynomialLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    with pytest.raises(ValueError, match='`total` must be at least 1, got 0'):
        PolynomialLR(optimizer, total=0)
    with pytest.raises(ValueError, match='only with their number'):
        PolynomialLR.build_iter_from_epoch(optimizer, total=3, epoch_length=0)

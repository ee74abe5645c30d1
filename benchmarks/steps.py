"""Whole steps of configs: training, prediction, and the data that feeds them."""

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmgcp.registry import MODELS

from .samples import synthetic_batch
from .timing import Variant

# Share of the step of a ResNet-50 at 224 x 224 that pooling may take.
SHARES = {'NewtonSchulz': 0.015, 'DropCov': 0.0025}
# Image side when --size is not given and the pipeline does not tell.
SIDES = {'mmpretrain': 224, 'mmdet': 512, 'mmseg': 512}


def config_groups(args: argparse.Namespace) -> Iterator[tuple[str, list[Variant]]]:
    """Groups to measure for every kind that takes configs."""
    configs = [load(path) for path in args.config]
    if args.kind == 'pretrain-step':
        # Heads of one recipe: all against the first.
        first = configs[0].stem
        yield (
            'pre-training step',
            [v for c in configs for v in _pretrain(c, args, c.stem, first)],
        )
    elif args.kind == 'transfer-step':
        for config in configs:
            yield f'training step, {config.stem}', _last_stages(config, args)
    elif args.kind == 'evaluation':
        for scope, group in _by_scope(configs).items():
            first = group[0].stem
            yield (
                f'prediction, {scope}',
                [_predict(c, args, c.stem, first) for c in group],
            )
    else:
        for config in configs:
            yield f'throughput, {config.stem}', _throughput(config, args)


def load(path: str) -> Config:
    """Read a config and remember its file name as ``stem``.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'{path}: no such config. Run from the root of the repository, or give '
            '--config'
        )
    config = Config.fromfile(path)
    config.stem = Path(path).stem
    return config


def build(config: Config, device: str) -> torch.nn.Module:
    """Build the model of a config, with the random weights of its constructors."""
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    return MODELS.build(config.model).to(device)


def _by_scope(configs: list[Config]) -> dict[str, list[Config]]:
    groups: dict[str, list[Config]] = {}
    for config in configs:
        groups.setdefault(config.default_scope, []).append(config)
    return groups


def _batch(config: Config, args: argparse.Namespace) -> tuple[dict, int]:
    number = args.batch or config.train_dataloader.batch_size
    size = args.size or _crop(config) or SIDES[config.default_scope]
    return synthetic_batch(config, number, size), number


def _crop(config: Config) -> int | None:
    """Side of the training crop that the pipeline of the config makes, if it says."""
    padded = (config.model.get('data_preprocessor') or {}).get('size')
    found = min(padded) if padded else None
    for step in config.get('train_pipeline', []):
        value = step.get('crop_size') or step.get('scale') or step.get('img_scale')
        if isinstance(value, int):
            found = value
        elif isinstance(value, (list, tuple)) and isinstance(value[0], int):
            found = min(value)
    return found


def _training_step(
    config: Config, model: torch.nn.Module
) -> Callable[[dict], dict[str, torch.Tensor]]:
    from mmengine.optim import build_optim_wrapper

    model.train()
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    return lambda data: model.train_step(data, optimizer)


def _train(
    config: Config, args: argparse.Namespace, name: str, baseline: str
) -> Variant:
    data, number = _batch(config, args)
    train = _training_step(config, build(config, args.device))
    return Variant(name, lambda: train(data), baseline, items=number)


def _pretrain(
    config: Config, args: argparse.Namespace, name: str, baseline: str
) -> list[Variant]:
    """The step, and for a covariance head its pooling alone as a share of it."""
    data, number = _batch(config, args)
    model = build(config, args.device)
    train = _training_step(config, model)
    step = Variant(name, lambda: train(data), baseline, items=number)
    if not hasattr(getattr(model, 'neck', None), 'pool'):
        return [step]
    maps: list[torch.Tensor] = []
    hook = model.neck.reduction.register_forward_hook(
        lambda module, inputs, output: maps.append(output.detach())
    )
    train(data)
    hook.remove()
    x = maps[0].requires_grad_()
    size = args.size or _crop(config)
    wanted = _share(config) if size == 224 else None
    targets = {} if wanted is None else {'time': wanted}

    def pool():
        x.grad = None
        model.neck.pool(x).sum().backward()

    return [step, Variant(f'pooling of {name}', pool, name, targets=targets)]


def _share(config: Config) -> float | None:
    """Goal of the pooling of a ResNet-50 config."""
    if config.model.backbone.get('depth') != 50:
        return None
    parts = [config.model.neck.get(key) or {} for key in ('dropout', 'normalization')]
    found = [SHARES[part['type']] for part in parts if part.get('type') in SHARES]
    return found[0] if len(found) == 1 else None


def _last_stages(config: Config, args: argparse.Namespace) -> list[Variant]:
    variants = []
    first = f'last_stage={args.last_stage[0]}'
    for stage in args.last_stage:
        changed = config.copy()
        changed.model.backbone.last_stage = stage
        variants.append(_train(changed, args, f'last_stage={stage}', first))
    return variants


def _predict(
    config: Config, args: argparse.Namespace, name: str, baseline: str
) -> Variant:
    data, number = _batch(config, args)
    model = build(config, args.device).eval()

    def step():
        with torch.no_grad():
            model.test_step(data)

    return Variant(name, step, baseline, items=number)


def _throughput(config: Config, args: argparse.Namespace) -> list[Variant]:
    """The step on one fixed batch, loading in this process, and both in turn.

    The loader runs without workers: its time is then what one core spends on it.
    """
    from mmengine.runner import Runner

    init_default_scope(config.default_scope)
    loading = config.train_dataloader.copy()
    loading.update(num_workers=0, persistent_workers=False)
    loading.pop('prefetch_factor', None)
    loading.batch_size = args.batch or loading.batch_size
    loader = Runner.build_dataloader(loading, seed=0)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    train = _training_step(config, build(config, args.device))
    fixed = next(batches)
    number = loading.batch_size

    def both():
        train(next(batches))

    return [
        Variant('step', lambda: train(fixed), 'step', items=number),
        Variant(
            'loading',
            lambda: next(batches),
            'step',
            items=number,
            dataset=loader.dataset,
        ),
        Variant('loading and step', both, 'step', items=number),
    ]

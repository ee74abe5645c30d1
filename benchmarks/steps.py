"""Whole steps of configs: training, prediction, and the data that feeds them."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import nn

from mmgcp.datasets.checking import check_config
from mmgcp.export.onnx_export import input_size
from mmgcp.utils.config import enter_scope, framework_of, load_config
from mmgcp.weights.trained_model import build_untrained

from .timing import Variant


class Steps:
    """A config with a random model, and the steps that can be timed.

    Args:
        path: The config.
        device: Where the model is.
        batch: Images per step; those of the config by default.
        size: Side of the images; the shorter one that the config tests with by default.

    Raises:
        ConfigError: The config has no scope of a framework that is known here.
    """

    def __init__(
        self, path: str, device: str, batch: int | None, size: int | None = None
    ) -> None:
        self.name, self.config = Path(path).stem, load_config(path)
        self.scope = framework_of(self.config)
        self.device, self.size = device, size
        self.batch = batch or self.config.train_dataloader.batch_size

    def model(self) -> nn.Module:
        """A new model, with the random weights of its constructors."""
        torch.manual_seed(0)
        return build_untrained(self.config).to(self.device)

    def _training_step(self, model: nn.Module) -> Callable[[dict], object]:
        model.train()
        optimizer = build_optim_wrapper(model, self.config.optim_wrapper)
        return lambda data: model.train_step(data, optimizer)

    def _images(self) -> dict:
        size = self.size or min(input_size(self.config))
        return synthetic_batch(self.config, self.batch, size)

    def train(self, name: str, baseline: str) -> Variant:
        """One training step."""
        data, step = self._images(), self._training_step(self.model())
        return Variant(name, lambda: step(data), baseline, self.batch)

    def train_with_pooling(self, baseline: str) -> list[Variant]:
        """One training step, and for a covariance head its pooling alone."""
        data, model = self._images(), self.model()
        step = self._training_step(model)
        whole = Variant(self.name, lambda: step(data), baseline, self.batch)
        if self.config.model.neck.type != 'mmgcp.GlobalCovariancePooling':
            return [whole]
        maps: list[torch.Tensor] = []
        hook = model.neck.reduction.register_forward_hook(
            lambda module, inputs, output: maps.append(output.detach())
        )
        step(data)
        hook.remove()
        x = maps[0].requires_grad_()

        def pool():
            x.grad = None
            model.neck.pool(x).sum().backward()

        return [whole, Variant(f'pooling of {self.name}', pool, self.name)]

    def last_stages(self, stages: list[str]) -> list[Variant]:
        """One training step for each form of the last stage."""
        variants = []
        for stage in stages:
            self.config.model.backbone.last_stage = stage
            first = f'last_stage={stages[0]}'
            variants.append(self.train(f'last_stage={stage}', first))
        return variants

    def predict(self, baseline: str) -> Variant:
        """One batch through the model, boxes and masks included."""
        data, model = self._images(), self.model().eval()

        def step():
            with torch.no_grad():
                model.test_step(data)

        return Variant(self.name, step, baseline, self.batch)

    def with_loading(self) -> list[Variant]:
        """The training step on one fixed batch, its parts, loading, and both in turn.

        The loader runs without workers: its time is then what one core spends on it.
        """
        enter_scope(self.scope)
        check_config(self.config, ('train_dataloader',))
        loading = self.config.train_dataloader.copy()
        loading.update(num_workers=0, persistent_workers=False, batch_size=self.batch)
        loading.pop('prefetch_factor', None)
        loader = Runner.build_dataloader(loading, seed=0)
        batches = itertools.chain.from_iterable(itertools.repeat(loader))
        model = self.model()
        step, fixed = self._training_step(model), next(batches)

        def copy():
            return model.data_preprocessor(fixed, True)

        ready = copy()

        def forward():
            return model.parse_losses(model(**ready, mode='loss'))[0]

        def backward():
            forward().backward()
            model.zero_grad()

        functions = {
            'step': lambda: step(fixed),
            'copy': copy,
            'forward': forward,
            'forward, backward': backward,
            'loading': lambda: next(batches),
            'loading and step': lambda: step(next(batches)),
        }
        return [Variant(n, f, 'step', self.batch) for n, f in functions.items()]


def largest_share(rows: list[dict]) -> str:
    """Which part of the steps of :meth:`Steps.with_loading` takes most, and how much."""
    time = {row['name']: row['milliseconds'] for row in rows}
    parts = {name: time[name] for name in ('loading', 'copy', 'forward')}
    parts['backward'] = time['forward, backward'] - time['forward']
    parts['optimizer'] = time['step'] - time['forward, backward'] - time['copy']
    name = max(parts, key=lambda part: parts[part])
    return f'most of it: {name}, {parts[name] / sum(parts.values()):.0%}'


def synthetic_batch(config: Config, batch: int, size: int) -> dict:
    """Images of noise with annotations, for the ``data_preprocessor`` of a config."""
    rng = np.random.default_rng(0)
    classes = _find(config.model, 'num_classes')
    if config.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        return demo_mm_inputs(
            batch,
            [(3, size, size)] * batch,
            num_items=[8] * batch,
            num_classes=classes,
            with_mask='mask_head' in str(config.model),
        )
    images = torch.from_numpy(rng.integers(0, 256, (batch, 3, size, size), np.uint8))
    if config.default_scope == 'mmpretrain':
        from mmpretrain.structures import DataSample

        labels = rng.integers(0, classes, batch)
        samples = [DataSample().set_gt_label(int(label)) for label in labels]
        return dict(inputs=images, data_samples=samples)
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    shape = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), (size, size))
    maps = torch.from_numpy(rng.integers(0, classes, (batch, 1, size, size)))
    samples = [
        SegDataSample(metainfo=shape, gt_sem_seg=PixelData(data=each)) for each in maps
    ]
    return dict(inputs=list(images), data_samples=samples)


def _find(node, key: str):
    """First value of ``key`` anywhere in a config."""
    if isinstance(node, dict):
        if key in node:
            return node[key]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        found = (_find(child, key) for child in node)
        return next((value for value in found if value is not None), None)
    return None

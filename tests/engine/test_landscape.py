"""The landscape of losses that are known, and a hook that leaves no trace."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmgcp.engine.landscape import (
    MOBILENET_STEPS,
    RESNET_STEPS,
    LandscapeHook,
    default_steps,
    loss_landscape,
    stem_module,
)
from mmgcp.utils.errors import UserError

STEPS = [0.5, 1.0, 2.0]


def landscape_of(function, point):
    stem = nn.Identity()
    return loss_landscape(lambda: function(stem(point)), stem, STEPS)


def test_quadratic_has_its_curvature_as_beta():
    point = torch.randn(3, 5, dtype=torch.float64)
    result = landscape_of(lambda x: 1.5 * x.square().sum(), point)
    # The gradient is 3 x; a step of eta along it multiplies x by (1 + 3 eta).
    value = 1.5 * float(point.square().sum())
    norm = 3 * float(point.norm())
    assert result['beta'] == pytest.approx([3.0] * 3)
    assert result['effective_beta'] == pytest.approx(3.0)
    assert result['gradient_norm'] == pytest.approx(norm)
    assert result['loss'] == pytest.approx([value * (1 + 3 * e) ** 2 for e in STEPS])
    assert result['gradient_change'] == pytest.approx([3 * e * norm for e in STEPS])


def test_the_largest_ratio_counts():
    point = torch.full((1,), 1.0, dtype=torch.float64)
    result = landscape_of(lambda x: x.pow(4).sum() / 4, point)
    # g = 1 at x = 1, so the ratio is ((1 + eta)^3 - 1) / eta.
    assert result['beta'] == pytest.approx([((1 + e) ** 3 - 1) / e for e in STEPS])
    assert result['effective_beta'] == max(result['beta'])


def test_of_a_tuple_the_first_is_moved():
    class PatchEmbed(nn.Module):
        def forward(self, x):
            return x, (1, 5)

    stem, point = PatchEmbed(), torch.randn(3, 5)
    found = loss_landscape(lambda: stem(point)[0].square().sum(), stem, STEPS)
    assert found['beta'] == pytest.approx([2.0] * 3)


def test_a_module_that_runs_twice_is_refused():
    stem = nn.Identity()
    point = torch.ones(1)
    with pytest.raises(UserError, match='2 times'):
        loss_landscape(lambda: stem(stem(point)).sum(), stem, STEPS)
    assert not stem._forward_hooks


def test_stem_by_name_and_by_default():
    model = nn.Module()
    model.backbone = nn.Module()
    model.backbone.maxpool = nn.MaxPool2d(2)
    model.backbone.other = nn.Identity()
    assert stem_module(model) is model.backbone.maxpool
    assert stem_module(model, 'backbone.other') is model.backbone.other
    with pytest.raises(UserError, match="no module 'backbone.none'"):
        stem_module(model, 'backbone.none')
    model.backbone = nn.Linear(1, 1)
    with pytest.raises(UserError, match='--stem'):
        stem_module(model)


def test_published_steps_follow_the_architecture():
    class MobileNetV2(nn.Module):
        pass

    class GCPMobileNetV2(MobileNetV2):
        pass

    model = nn.Module()
    model.backbone = GCPMobileNetV2()
    assert default_steps(model) == MOBILENET_STEPS
    model.backbone = nn.Identity()
    assert default_steps(model) == RESNET_STEPS


class Preprocessor(BaseDataPreprocessor):
    def forward(self, data, training=False):
        data = self.cast_data(data)
        return {
            'inputs': torch.stack(data['inputs']),
            'data_samples': torch.tensor(data['data_samples']),
        }


class Model(BaseModel):
    """Batch norm, dropout and a count in python: all that a measure could touch."""

    def __init__(self):
        super().__init__(data_preprocessor=Preprocessor())
        self.backbone = nn.Sequential()
        self.backbone.maxpool = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2))
        self.rest = nn.Sequential(
            nn.BatchNorm2d(4), nn.Dropout2d(0.5), nn.Conv2d(4, 3, 3)
        )
        self.calls = 0

    def forward(self, inputs, data_samples=None, mode='loss'):
        self.calls += 1
        scores = self.rest(self.backbone.maxpool(inputs)).mean((2, 3))
        return {'loss': nn.functional.cross_entropy(scores, data_samples)}


class Noise(Dataset):
    """Draws from numpy's global generator, as augmentation does."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        shift = np.random.normal()
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 12, 12, generator=generator) + shift
        return {'inputs': image, 'data_samples': index % 3}


def train(work_dir, hook, epochs=2, resume=False):
    torch.manual_seed(3)
    np.random.seed(3)
    model = Model()
    runner = Runner(
        model,
        str(work_dir),
        train_dataloader={
            'dataset': Noise(),
            'batch_size': 4,
            'num_workers': 0,
            'collate_fn': pseudo_collate,
            'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        },
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}},
        custom_hooks=[hook] if hook else [],
        randomness={'seed': 0},
        resume=resume,
        experiment_name=f'{work_dir.name}-{epochs}-{resume}',
        log_level='ERROR',
    )
    runner.train()
    return model, torch.get_rng_state(), np.random.get_state()[1]


HOOK = {'type': 'mmgcp.LandscapeHook', 'interval': 2, 'steps': (0.1, 10.0, 4)}


def test_training_is_the_same_bit_for_bit(tmp_path):
    plain, torch_state, numpy_state = train(tmp_path / 'plain', None)
    watched, other_torch, other_numpy = train(tmp_path / 'watched', HOOK)
    assert watched.calls == plain.calls
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name
    assert torch.equal(torch_state, other_torch)
    assert np.array_equal(numpy_state, other_numpy)
    record = json.loads((tmp_path / 'watched' / 'landscape.json').read_text())
    assert [entry['iteration'] for entry in record['entries']] == [0, 2, 4]
    assert all(len(entry['loss']) == 4 for entry in record['entries'])
    assert all(entry['seconds'] > 0 for entry in record['entries'])


def test_a_resumed_run_continues_its_record(tmp_path):
    train(tmp_path / 'run', HOOK, epochs=1)
    train(tmp_path / 'run', HOOK, epochs=2, resume=True)
    record = json.loads((tmp_path / 'run' / 'landscape.json').read_text())
    assert [entry['iteration'] for entry in record['entries']] == [0, 2, 4]


def test_interval_must_be_positive():
    with pytest.raises(UserError, match='interval=0'):
        LandscapeHook(interval=0)

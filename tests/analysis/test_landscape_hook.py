"""Measuring while training must leave no trace in the training."""

import json

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset


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
    from mmgcp.engine import LandscapeHook

    with pytest.raises(ValueError, match='interval=0'):
        LandscapeHook(interval=0)

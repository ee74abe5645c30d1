"""The pooling head of a classifier is filled completely, or loading raises."""

import pytest
import torch

from mmgcp.models import GlobalCovariancePooling
from mmgcp.weights.errors import CheckpointError


def neck(channels=4, dropout=None, **settings):
    return GlobalCovariancePooling(8, channels, dropout=dropout, **settings)


@pytest.fixture
def file(tmp_path):
    state = neck().state_dict()
    tensors = {f'neck.{name}': torch.rand_like(t.float()) for name, t in state.items()}
    tensors['neck.reduction.bn.num_batches_tracked'] = torch.tensor(5)
    tensors['head.fc.weight'] = tensors['backbone.conv1.weight'] = torch.ones(1)
    torch.save(tensors, tmp_path / 'classifier.pth')
    return tmp_path / 'classifier.pth'


def filled(file, *before, **settings):
    loading = dict(type='mmgcp.PretrainedNeck', checkpoint=str(file))
    made = neck(init_cfg=[*before, loading], **settings)
    made.init_weights()
    return made


@pytest.mark.parametrize('before', [[], [dict(type='Kaiming', layer='Conv2d')]])
def test_every_tensor_is_kept(file, before):
    tensors = torch.load(file)
    for name, tensor in filled(file, *before).state_dict().items():
        assert torch.equal(tensor, tensors[f'neck.{name}'])


def test_a_frozen_neck_neither_learns_nor_counts(file):
    made = filled(file, frozen=True).train()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    (vector,) = made(torch.rand(2, 8, 5, 5))
    assert not vector.requires_grad
    after = made.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(channels=5), 'does not fit the neck GlobalCovariancePooling: size mis'),
        (dict(dropout=dict(type='DropCov')), 'dropout.importance.weight'),
    ],
)
def test_another_head_is_refused(file, settings, message):
    with pytest.raises(CheckpointError, match=message):
        filled(file, **settings)


def test_an_encoder_file_has_no_head(file):
    tensors = torch.load(file)
    torch.save({'conv1.weight': tensors['backbone.conv1.weight']}, file)
    with pytest.raises(CheckpointError, match='no pooling head .* --to classifier'):
        filled(file)

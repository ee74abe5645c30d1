"""Published checkpoints hold the weights, strings, and nothing else."""

import json

import pytest
import torch

from mmgcp.utils.config import load_config
from mmgcp.weights.files import tensors_sha256
from mmgcp.weights.trained_model import load_trained_model

from .conftest import CONFIGS


def published(run_tool, *arguments):
    done = run_tool('publish_checkpoint', *arguments)
    assert done.status == 0, done.err
    from pathlib import Path

    return Path(done.out.splitlines()[0]), done.out


def test_weights_and_strings_remain(run_tool, scenes, checkpoint_of, tmp_path):
    source = checkpoint_of('gap')
    path, out = published(run_tool, source, tmp_path / 'gap.pth')
    content = torch.load(path, weights_only=True)
    before = torch.load(source, weights_only=False)
    assert sorted(content) == ['meta', 'state_dict']
    assert all(isinstance(value, str) for value in content['meta'].values())
    assert json.loads(content['meta']['classes']) == ['a', 'b']
    assert content['meta']['epoch'] == '3'
    for name, tensor in before['state_dict'].items():
        assert torch.equal(content['state_dict'][name], tensor)
    digest = tensors_sha256(before['state_dict'])
    assert content['meta']['sha256'] == digest
    assert path.name == f'gap-{digest[:8]}.pth'
    assert 'dropped  optimizer' in out
    assert path.stat().st_size < source.stat().st_size
    load_trained_model(load_config(CONFIGS['gap']), path)


def test_digest_is_that_of_the_tensors(run_tool, tmp_path):
    tensors = {'a': torch.arange(6.0).view(2, 3), 'b': torch.ones(1)}
    torch.save({'state_dict': tensors, 'optimizer': {'x': 1}}, tmp_path / 'x.pth')
    torch.save({'b': tensors['b'], 'a': tensors['a']}, tmp_path / 'y.pth')
    x, _ = published(run_tool, tmp_path / 'x.pth')
    y, _ = published(run_tool, tmp_path / 'y.pth')
    assert x.stem[-8:] == y.stem[-8:]
    tensors['a'][0, 0] = 1
    torch.save({'state_dict': tensors}, tmp_path / 'z.pth')
    z, _ = published(run_tool, tmp_path / 'z.pth')
    assert z.stem[-8:] != x.stem[-8:]


def test_a_view_does_not_bring_its_storage(run_tool, tmp_path):
    torch.save({'state_dict': {'a': torch.zeros(1_000_000)[:3]}}, tmp_path / 'x.pth')
    path, _ = published(run_tool, tmp_path / 'x.pth')
    assert path.stat().st_size < 5_000


def test_average_is_published_on_demand(run_tool, tmp_path):
    content = {
        'state_dict': {'a': torch.zeros(2)},
        'ema_state_dict': {'module.a': torch.ones(2)},
    }
    torch.save(content, tmp_path / 'x.pth')
    path, _ = published(run_tool, tmp_path / 'x.pth', '--ema')
    written = torch.load(path, weights_only=True)
    assert torch.equal(written['state_dict']['a'], torch.ones(2))
    assert written['meta']['weights'] == 'averaged'


@pytest.mark.parametrize(
    ('content', 'arguments', 'message'),
    [
        ({'state_dict': {'a': torch.tensor([1.0, float('nan')])}}, (), 'not finite'),
        ({'state_dict': {'a': torch.ones(1)}}, ('--ema',), "no 'ema_state_dict'"),
        ({'state_dict': {}}, (), 'expected named tensors'),
        ({'state_dict': {'a': 3}}, (), 'not tensors: a'),
    ],
)
def test_refusals_leave_no_file(content, arguments, message, run_tool, tmp_path):
    source = tmp_path / 'x.pth'
    torch.save(content, source)
    done = run_tool('publish_checkpoint', source, *arguments)
    assert done.status == 1
    assert message in done.err
    assert list(tmp_path.iterdir()) == [source]

"""Published checkpoints hold the weights, strings, and nothing else."""

import json
from pathlib import Path

import torch

from mmgcp.utils.config import load_config
from mmgcp.weights.files import file_sha256
from mmgcp.weights.trained_model import load_trained_model

from .conftest import CONFIGS


def published(run_tool, *arguments):
    done = run_tool('publish_checkpoint', *arguments)
    assert done.status == 0, done.err
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
    assert content['meta']['weights'] == 'last'
    for name, tensor in before['state_dict'].items():
        assert torch.equal(content['state_dict'][name], tensor)
    digest = file_sha256(path)
    assert digest in out
    assert path.name == f'gap-{digest[:8]}.pth'
    assert 'dropped  optimizer' in out
    assert path.stat().st_size < source.stat().st_size
    load_trained_model(load_config(CONFIGS['gap']), path)


def test_a_view_does_not_bring_its_storage(run_tool, tmp_path):
    torch.save({'state_dict': {'a': torch.zeros(1_000_000)[:3]}}, tmp_path / 'x.pth')
    path, _ = published(run_tool, tmp_path / 'x.pth')
    assert path.stat().st_size < 5_000


def test_averaged_weights_are_those_of_the_model(run_tool, tmp_path):
    """mmengine's EMAHook swaps the two when it saves."""
    content = {
        'state_dict': {'a': torch.ones(2)},
        'ema_state_dict': {'module.a': torch.zeros(2), 'steps': torch.tensor(3)},
    }
    torch.save(content, tmp_path / 'x.pth')
    written = torch.load(published(run_tool, tmp_path / 'x.pth')[0], weights_only=True)
    assert torch.equal(written['state_dict']['a'], torch.ones(2))
    assert written['meta']['weights'] == 'averaged'

"""Published checkpoints hold the weights, strings, and nothing else."""

import json
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmgcp.utils.config import load_config
from mmgcp.utils.files import file_sha256
from mmgcp.weights.reading import read_checkpoint
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


def test_safetensors_and_model_card(run_tool, scenes, checkpoint_of, tmp_path):
    """The default: read back to the last bit, and a page with what the file says."""
    config = load_config(CONFIGS['gap'])
    source = torch.load(checkpoint_of('gap'), weights_only=False)
    source['meta']['cfg'] = config.pretty_text
    torch.save(source, tmp_path / 'run.pth')
    path, out = published(run_tool, tmp_path / 'run.pth')
    assert path.suffix == '.safetensors'
    content = read_checkpoint(path)
    for name, tensor in source['state_dict'].items():
        assert torch.equal(content['state_dict'][name], tensor)
    load_trained_model(config, path)
    again, _ = published(run_tool, tmp_path / 'run.pth')
    assert again == path, 'equal content has one digest'

    card = path.with_suffix('.md').read_text()
    rows = [line.strip('| ').split(' | ') for line in card.splitlines() if '| ' in line]
    rows = dict(row for row in rows if len(row) == 2)
    assert rows['trained on'].startswith('CustomDataset')
    assert rows['trained on'].endswith('2 classes')
    assert rows['encoder'] == 'mmgcp.GCPResNet 18'
    assert rows['pooling head'] == config.model.neck.type
    assert rows['last stage'] == 'stride'
    assert rows['input normalization'].endswith('RGB')
    assert rows['sha256'] == file_sha256(path)
    assert rows['sha256'] in out
    lines = card.split('```python')[1].split('```')[0]
    model = Config.fromstring(lines, '.py').model
    init_cfg = model.backbone.init_cfg
    init_cfg.checkpoint = str(path.parent / init_cfg.checkpoint)
    config.model.backbone.init_cfg = init_cfg
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build(config.model.backbone)
        backbone.init_weights()
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, source['state_dict'][f'backbone.{name}']), name


def test_a_view_does_not_bring_its_storage(run_tool, tmp_path):
    torch.save({'state_dict': {'a': torch.zeros(1_000_000)[:3]}}, tmp_path / 'x.pth')
    path, _ = published(run_tool, tmp_path / 'x.pth', tmp_path / 'y.pth')
    assert path.stat().st_size < 5_000


def test_averaged_weights_are_those_of_the_model(run_tool, tmp_path):
    """mmengine's EMAHook swaps the two when it saves."""
    content = {
        'state_dict': {'a': torch.ones(2)},
        'ema_state_dict': {'module.a': torch.zeros(2), 'steps': torch.tensor(3)},
    }
    torch.save(content, tmp_path / 'x.pth')
    written = read_checkpoint(published(run_tool, tmp_path / 'x.pth')[0])
    assert torch.equal(written['state_dict']['a'], torch.ones(2))
    assert written['meta']['weights'] == 'averaged'

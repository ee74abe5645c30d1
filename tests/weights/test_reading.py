"""Files are read without running what is in them, and refused with a reason."""

import argparse
import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim.scheduler import OneCycleLR
from safetensors.torch import load_file, save_file
from torch import nn

from mmgcp.weights.convert import convert_checkpoint
from mmgcp.weights.errors import CheckpointError, UntrustedCheckpointError
from mmgcp.weights.files import save_atomically
from mmgcp.weights.reading import model_tensors, read_checkpoint

WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'a.steps': torch.tensor(7)}


@pytest.fixture(params=['zip', 'legacy'])
def save(request, tmp_path):
    """Save in one of torch's two formats, and return the path."""

    def write(content):
        path = tmp_path / 'w.pth'
        torch.save(content, path, _use_new_zipfile_serialization=request.param == 'zip')
        return path

    return write


def test_training_state_is_read_as_it_was(save):
    hub = MessageHub('saved')
    for loss in (1.5, 2.5):
        hub.update_scalar('train/loss', loss)
    hub.update_info('best', np.float64(0.25))
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer = torch.optim.AdamW([weight], 0.1)
    optimizer.step()
    schedule = OneCycleLR(optimizer, eta_max=0.2, total_steps=10)
    half = torch.arange(3).half()
    saved = {
        'state_dict': {**WEIGHTS, 'half': half},
        'optimizer': optimizer.state_dict(),
        'param_schedulers': [schedule.state_dict()],
        'message_hub': hub.state_dict(),
        'meta': {'seed': np.int64(3), 'palette': np.ones((2, 3), np.uint8)},
        'args': argparse.Namespace(lr=0.1),
    }
    content = read_checkpoint(save(saved))
    for name, tensor in saved['state_dict'].items():
        torch.testing.assert_close(content['state_dict'][name], tensor, rtol=0, atol=0)
    optimizer.load_state_dict(content['optimizer'])
    schedule.load_state_dict(content['param_schedulers'][0])
    schedule.step()
    resumed = MessageHub('resumed')
    resumed.load_state_dict(content['message_hub'])
    assert resumed.get_scalar('train/loss').mean() == 2.0
    resumed.update_scalar('train/loss', 5.0)
    assert resumed.get_scalar('train/loss').mean() == 3.0
    assert resumed.get_info('best') == 0.25
    assert content['meta']['seed'] == 3
    assert content['meta']['palette'].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert content['args'].lr == 0.1


class RunsCode:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Getattr:
    """Reaches for a method of a class that has an allowed one."""

    def __reduce__(self):
        return getattr, (type(MessageHub.get_current_instance()), 'get_instance')


@pytest.mark.parametrize('place', ['state_dict', 'meta', 'optimizer', 'message_hub'])
def test_payloads_are_named_and_not_run(save, tmp_path, place):
    victim = tmp_path / 'made'
    content = {'state_dict': dict(WEIGHTS), 'meta': {'seed': np.int64(3)}}
    content.setdefault(place, {})['x'] = RunsCode(victim)
    path = save(content)
    for read in (
        read_checkpoint,
        lambda path: convert_checkpoint(path, tmp_path / 'converted.pth'),
    ):
        with pytest.raises(UntrustedCheckpointError, match=r'\.mkdir\b.*--trust') as e:
            read(path)
        assert str(path) in str(e.value)
    assert not victim.exists()
    read_checkpoint(path, trust=True)
    assert victim.exists()


@pytest.mark.parametrize(
    ('thing', 'named'),
    [
        (io.StringIO, 'StringIO'),
        (np.array([None]), "numpy.dtype\\('O8'\\)"),
        (np.zeros(1, 'i4,f4'), "numpy.dtype\\('V8'\\)"),
        (Getattr(), 'MessageHub'),
        (print, 'builtins.print'),
    ],
)
def test_other_objects_are_refused_by_name(save, thing, named):
    with pytest.raises(UntrustedCheckpointError, match=named):
        read_checkpoint(save({'state_dict': WEIGHTS, 'x': thing}))


def _tar(path):
    torch.save(WEIGHTS, path.with_name('inner.pth'))
    with tarfile.open(path, 'w') as archive:
        archive.add(path.with_name('inner.pth'), 'inner.pth')


def _zip(path):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'no weights')


def _bomb(path):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb/data.pkl', b'\0' * 4_000_000)


def _truncated(path, zipped=True):
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-20])


def _cut_safetensors(path):
    save_atomically({'state_dict': WEIGHTS, 'meta': {}}, path)
    path.write_bytes(path.read_bytes()[:-4])


def _flipped(path):
    torch.save({'a': torch.arange(1000.0)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(torch.arange(10.0, 12.0).numpy().tobytes())
    content[place + 1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (lambda path: path.write_bytes(b''), 'empty'),
        (lambda path: path.write_bytes(b'\n <!DOCTYPE html><html>quota'), 'web page'),
        (_tar, 'tar archive'),
        (_zip, 'zip archive without'),
        (_bomb, '4000000 bytes.*zip bomb'),
        (_truncated, 'truncated'),
        (lambda path: _truncated(path, False), 'truncated'),
        (_flipped, 'damaged.*wrong checksum of .*data/0'),
        (lambda path: torch.jit.script(nn.ReLU()).save(str(path)), 'TorchScript'),
        (lambda path: path.write_bytes(b'\x00\x01 noise' * 40), 'cannot be read'),
        (lambda path: path.write_bytes(b'version https://git-lfs.x'), 'git-lfs'),
        (lambda path: path.mkdir(), 'not a regular file'),
        (_cut_safetensors, 'header.*truncated'),
        (lambda path: path.write_bytes(b'\x02' + b'\0' * 7 + b'{]'), 'header.*damaged'),
    ],
)
def test_what_is_no_checkpoint(tmp_path, make, reason):
    broken_header = reason.startswith('header')
    path = tmp_path / ('file.safetensors' if broken_header else 'file.pth')
    make(path)
    with pytest.raises(CheckpointError, match=reason) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        ({}, 'empty'),
        ([1], 'list'),
        ({'a': 1, 'b': torch.ones(1)}, 'not tensors: a'),
        # one stored byte stands for a huge tensor
        ({'a': torch.zeros(1).expand(1 << 40)}, 'more than the limit'),
        ({'a': torch.ones(2), 'b': torch.ones(2) / 0}, 'not finite.*: b'),
    ],
)
def test_only_named_finite_tensors_pass(tmp_path, content, reason):
    torch.save(content, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=reason):
        model_tensors(read_checkpoint(tmp_path / 'w.pth'), 'w.pth')


def test_safetensors_hold_what_was_saved(tmp_path):
    weights = {**WEIGHTS, 'turned': torch.rand(3, 2).t().contiguous()}
    meta = {'pooling_head': 'isqrt', 'classes': '["ä"]'}
    path, digest = save_atomically(
        {'state_dict': weights, 'meta': meta}, tmp_path / 'w.safetensors', True
    )
    assert digest[:8] in path.name
    for content in (read_checkpoint(path)['state_dict'], load_file(path)):
        assert content.keys() == weights.keys()
        assert all(torch.equal(content[name], weights[name]) for name in weights)
    assert read_checkpoint(path)['meta'] == meta
    # a file of another library has no metadata
    save_file(weights, tmp_path / 'theirs.safetensors')
    assert read_checkpoint(tmp_path / 'theirs.safetensors')['meta'] == {}


def test_wrappers_and_averages():
    one, two = torch.zeros(1), torch.ones(1)
    for content, ema, expected in (
        ({'a': one}, False, one),
        ({'state_dict': {'module.module.a': one}, 'epoch': 3}, False, one),
        ({'model': {'a': one}, 'model_ema': {'a': two}}, False, one),
        ({'model': {'a': one}, 'model_ema': {'a': two}}, True, two),
        # mmengine swaps the two when it saves
        ({'state_dict': {'a': two}, 'ema_state_dict': {'module.a': one}}, True, two),
    ):
        assert torch.equal(model_tensors(content, 'w.pth', ema)['a'], expected)

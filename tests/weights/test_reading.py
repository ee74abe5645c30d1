"""Files that are no weights are refused, each with its reason."""

import argparse
import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from mmgcp.weights import CheckpointError, UntrustedCheckpointError, read_checkpoint
from mmgcp.weights.reading import tensors_of

WEIGHTS = {'a.weight': torch.arange(6.0).reshape(2, 3), 'a.steps': torch.tensor(7)}


class RunsCode:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def _saved(path, content, **kwargs):
    torch.save(content, path, **kwargs)
    return path


@pytest.mark.parametrize('zipped', [True, False])
def test_plain_weights(tmp_path, zipped):
    path = _saved(
        tmp_path / 'w.pth',
        {'state_dict': WEIGHTS, 'epoch': 3},
        _use_new_zipfile_serialization=zipped,
    )
    content = read_checkpoint(path)
    assert content['epoch'] == 3
    for name, tensor in WEIGHTS.items():
        assert torch.equal(content['state_dict'][name], tensor)


@pytest.mark.parametrize('zipped', [True, False])
def test_training_state_is_left_out_and_weights_are_read(tmp_path, zipped):
    hub = MessageHub.get_instance('weights-reading')
    hub.update_scalar('train/loss', 1.5)
    half = torch.arange(3).half()
    content = {
        'state_dict': {**WEIGHTS, 'half': half, 'p': torch.nn.Parameter(half.float())},
        'message_hub': hub.state_dict(),
        'meta': {'seed': np.int64(3), 'scores': np.ones(2)},
        'args': argparse.Namespace(lr=0.1),
    }
    path = _saved(tmp_path / 'w.pth', content, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path)['state_dict']
    assert torch.equal(read['a.weight'], WEIGHTS['a.weight'])
    assert torch.equal(read['half'], half)
    assert read['half'].dtype == torch.float16
    assert torch.equal(read['p'], half.float())


@pytest.mark.parametrize('zipped', [True, False])
def test_foreign_code_is_named_and_not_run(tmp_path, zipped):
    victim = tmp_path / 'made'
    path = _saved(
        tmp_path / 'w.pth',
        {'state_dict': WEIGHTS, 'x': RunsCode(victim), 'y': io.StringIO},
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(UntrustedCheckpointError, match='--trust') as error:
        read_checkpoint(path)
    assert f'{os.mkdir.__module__}.mkdir' in str(error.value)
    assert 'StringIO' in str(error.value)
    assert not victim.exists()
    read_checkpoint(path, trust=True)
    assert victim.exists()


def _html(path):
    path.write_bytes(b'\n <!DOCTYPE html><html>quota exceeded</html>')


def _tar(path):
    inner = path.with_name('inner.pth')
    torch.save(WEIGHTS, inner)
    with tarfile.open(path, 'w') as archive:
        archive.add(inner, 'inner.pth')


def _tar_gz(path):
    inner = path.with_name('inner.pth')
    torch.save(WEIGHTS, inner)
    with tarfile.open(path, 'w:gz') as archive:
        archive.add(inner, 'inner.pth')


def _zip(path):
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'no weights')


def _truncated(path):
    torch.save(WEIGHTS, path)
    path.write_bytes(path.read_bytes()[:-200])


def _truncated_legacy(path):
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-20])


def _script(path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))


@pytest.mark.parametrize(
    ('make', 'reason'),
    [
        (lambda path: path.write_bytes(b''), 'empty'),
        (_html, 'web page'),
        (_tar, 'tar archive'),
        (_tar_gz, 'compressed archive'),
        (_zip, 'zip archive without'),
        (_truncated, 'truncated'),
        (_truncated_legacy, 'truncated'),
        (_script, 'TorchScript'),
        (lambda path: path.write_bytes(b'\x00\x01 noise' * 40), 'cannot be read'),
        (lambda path: path.write_bytes(b'version https://git-lfs.x'), 'git-lfs'),
        (lambda path: path.mkdir(), 'not a regular file'),
    ],
)
def test_what_is_no_checkpoint(tmp_path, make, reason):
    path = tmp_path / 'file.pth'
    make(path)
    with pytest.raises(CheckpointError, match=reason) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'):
        read_checkpoint(tmp_path / 'absent.pth')


def test_zip_bomb_is_refused_before_unpacking(tmp_path):
    path = tmp_path / 'bomb.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb/data.pkl', b'\0' * 4_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(CheckpointError, match='4000000 bytes, more than the limit'):
        read_checkpoint(path, max_bytes=1_000_000)


def test_file_over_the_limit(tmp_path):
    path = _saved(tmp_path / 'w.pth', {'a': torch.zeros(5000)})
    with pytest.raises(CheckpointError, match='--max-size'):
        read_checkpoint(path, max_bytes=10_000)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [({}, 'empty'), ([1], 'list'), ({'a': 1, 'b': torch.ones(1)}, 'not tensors: a')],
)
def test_only_named_tensors_pass(content, reason):
    with pytest.raises(CheckpointError, match=reason):
        tensors_of(content, 'file')


def test_tensor_that_repeats_one_byte(tmp_path):
    path = _saved(tmp_path / 'w.pth', {'a': torch.zeros(1).expand(1 << 40)})
    with pytest.raises(CheckpointError, match='more than the limit'):
        tensors_of(read_checkpoint(path), str(path))

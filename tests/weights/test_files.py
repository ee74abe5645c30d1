"""Downloads and atomic writes."""

import errno
import hashlib
import http.server
import socket
import subprocess
import sys
import threading

import pytest
import torch

from mmgcp.utils.files import file_sha256
from mmgcp.weights.errors import CheckpointError
from mmgcp.weights.files import local_file, save_atomically

BODY = bytes(range(256)) * 40


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requested.append(self.path)
        if self.path == '/absent.pth':
            self.send_error(404)
            return
        self.send_response(200)
        declared = len(BODY) + (100 if self.path == '/short.pth' else 0)
        self.send_header('Content-Length', str(declared))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv('MMGCP_CACHE', str(tmp_path / 'cache'))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.requested = []
    server.url = f'http://127.0.0.1:{server.server_port}/'
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_is_cached_and_pinned(server, tmp_path):
    digest = hashlib.sha256(BODY).hexdigest()
    path = local_file(server.url + 'e.pth', digest)
    assert path.read_bytes() == BODY
    assert path.parent == tmp_path / 'cache'
    assert local_file(server.url + 'e.pth') == path
    assert server.requested == ['/e.pth']
    path.write_bytes(b'damaged')
    assert local_file(server.url + 'e.pth', digest).read_bytes() == BODY
    assert server.requested == ['/e.pth'] * 2


@pytest.mark.parametrize(
    ('name', 'sha256', 'reason'),
    [
        ('absent.pth', None, '404'),
        ('short.pth', None, 'IncompleteRead'),
        ('e.pth', '0' * 64, 'sha256'),
    ],
)
def test_failed_download_leaves_nothing(server, tmp_path, name, sha256, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        local_file(server.url + name, sha256)
    assert server.url + name in str(error.value)
    assert not list((tmp_path / 'cache').glob('*'))


RANKS = """
import os
import sys
import torch.distributed as dist
from mmgcp.weights.errors import CheckpointError
from mmgcp.weights.files import local_file
rank, port, url = int(sys.argv[1]), *sys.argv[2:]
address = f'tcp://127.0.0.1:{port}'
dist.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
assert local_file(url + 'e.pth').stat().st_size == 10240
try:
    local_file(url + 'absent.pth')
except CheckpointError as error:
    print('refused', error)
dist.barrier()
sys.stdout.flush()
os._exit(0)  # torch 2.1 may hang where a gloo group is torn down
"""


@pytest.mark.once
def test_one_process_downloads_and_all_see_a_failure(server):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, '-c', RANKS]
    ranks = [
        subprocess.Popen(
            [*command, rank, port, server.url], stdout=subprocess.PIPE, text=True
        )
        for rank in '01'
    ]
    for rank in ranks:
        try:
            out, _ = rank.communicate(timeout=120)
        finally:
            rank.kill()
        assert rank.returncode == 0
        assert 'refused' in out
        assert '404' in out
    assert server.requested == ['/e.pth', '/absent.pth']


def test_names_and_digests_are_those_of_the_file(tmp_path):
    path, digest = save_atomically({'a': torch.ones(2)}, tmp_path / 'sub' / 'w.pth')
    assert path == tmp_path / 'sub' / 'w.pth'
    assert digest == file_sha256(path)
    hashed, digest = save_atomically({'a': torch.ones(3)}, path, hash_name=True)
    assert hashed.name == f'w-{file_sha256(hashed)[:8]}.pth'
    assert torch.equal(torch.load(hashed)['a'], torch.ones(3))
    assert torch.equal(torch.load(path)['a'], torch.ones(2))


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    path = tmp_path / 'w.pth'
    code = (
        'import os\nfrom mmgcp.utils.files import replacing\n'
        f'with replacing({str(path)!r}) as part:\n'
        "    part.write_bytes(b'half')\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, '-c', code]).returncode == -9
    assert [left.name for left in tmp_path.iterdir()] == ['.w.part.pth']
    save_atomically({'a': 1}, path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path, digest = save_atomically({'a': 1}, tmp_path / 'w.pth')
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_atomically({'a': threading.Lock()}, path)

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.write_bytes', full)
    with pytest.raises(CheckpointError, match=f'{path} cannot be written: No space'):
        save_atomically({'a': 2}, path)
    assert file_sha256(path) == digest
    assert list(tmp_path.iterdir()) == [path]

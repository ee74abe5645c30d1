"""Downloads, digests and atomic writes."""

import hashlib
import http.server
import socket
import subprocess
import sys
import threading

import pytest
import torch

from mmgcp.weights import CheckpointError, file_sha256, tensors_sha256
from mmgcp.weights.files import local_file, save_atomically

BODY = bytes(range(256)) * 40


class Server(http.server.ThreadingHTTPServer):
    def __init__(self):
        self.requested = []
        super().__init__(('127.0.0.1', 0), Handler)

    def url(self, name):
        return f'http://127.0.0.1:{self.server_port}/{name}'


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
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_is_cached_and_pinned(server, tmp_path):
    digest = hashlib.sha256(BODY).hexdigest()
    path = local_file(server.url('e.pth'), digest)
    assert path.read_bytes() == BODY
    assert path.parent == tmp_path / 'cache'
    assert local_file(server.url('e.pth')) == path
    assert server.requested == ['/e.pth']
    path.write_bytes(b'damaged')
    assert local_file(server.url('e.pth'), digest).read_bytes() == BODY
    assert server.requested == ['/e.pth'] * 2


@pytest.mark.parametrize(
    ('name', 'sha256', 'reason'),
    [
        ('absent.pth', None, '404'),
        ('short.pth', None, 'of 10340 bytes|IncompleteRead'),
        ('e.pth', '0' * 64, 'sha256'),
    ],
)
def test_failed_download_leaves_nothing(server, tmp_path, name, sha256, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        local_file(server.url(name), sha256)
    assert server.url(name) in str(error.value)
    assert list((tmp_path / 'cache').iterdir()) == []


RANKS = """
import sys
import torch.distributed as dist
from mmgcp.engine.distributed import leave_group
from mmgcp.weights.errors import CheckpointError
from mmgcp.weights.files import local_file
rank, port, good, bad = int(sys.argv[1]), *sys.argv[2:]
address = f'tcp://127.0.0.1:{port}'
dist.init_process_group('gloo', init_method=address, rank=rank, world_size=2)
assert local_file(good).stat().st_size == 10240
try:
    local_file(bad)
except CheckpointError as error:
    print('refused', error)
leave_group()
"""


def test_one_rank_downloads_and_all_see_a_failure(server):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    urls = server.url('e.pth'), server.url('absent.pth')
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', RANKS, str(rank), port, *urls],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        try:
            out, err = rank.communicate(timeout=120)
        finally:
            rank.kill()
        assert rank.returncode == 0, err
        assert 'refused' in out
        assert '404' in out
    assert server.requested == ['/e.pth', '/absent.pth']


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = save_atomically({'a': 1}, tmp_path / 'sub' / 'w.pth')
    before = file_sha256(path)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_atomically({'a': threading.Lock()}, path)
    assert file_sha256(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == ['w.pth']


def test_digest_of_tensors_sees_names_values_types_and_shapes():
    one = {'a': torch.arange(4.0), 'b': torch.tensor(2)}
    same = {'b': torch.tensor(2), 'a': torch.arange(8.0)[:4].clone()}
    assert tensors_sha256(one) == tensors_sha256(same)
    others = [
        {'a': one['a'], 'c': one['b']},
        {'a': one['a'].double(), 'b': one['b']},
        {'a': one['a'].reshape(2, 2), 'b': one['b']},
        {'a': one['a'] + 1e-7, 'b': one['b']},
    ]
    assert len({tensors_sha256(x) for x in [one, *others]}) == 5
    half = {'a': torch.ones(3, dtype=torch.bfloat16).expand(2, 3)}
    assert tensors_sha256(half) == tensors_sha256({'a': half['a'].contiguous()})

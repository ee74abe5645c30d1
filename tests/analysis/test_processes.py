"""Two processes must find what one finds."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name('worker.py')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def results(spec, out, processes):
    out.mkdir()
    launcher = 'pytorch' if processes > 1 else 'none'
    command = [sys.executable, str(WORKER), spec.config, spec.checkpoint, out, launcher]
    port = free_port()
    environment = {
        **os.environ,
        'PYTHONPATH': str(WORKER.parents[2]),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': port,
        'WORLD_SIZE': str(processes),
    }
    running = [
        subprocess.Popen(
            list(map(str, command)),
            env={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]
    return json.loads((out / 'result.json').read_text())


def test_two_processes_give_the_result_of_one(spec_of, tmp_path):
    pytest.importorskip('imagecorruptions')
    spec = spec_of('mmpretrain')
    one, two = (results(spec, tmp_path / str(n), n) for n in (1, 2))
    assert two['order'] == [0, 1, 4, 9, 16]
    assert two['robustness'] == one['robustness']
    for name in ('loss', 'gradient', 'product', 'spectrum'):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    for name, value in one['landscape'].items():
        assert two['landscape'][name] == pytest.approx(value, rel=1e-5), name

"""Two processes must find what one finds."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from . import worker


def of_two_processes(arguments):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        'PYTHONPATH': str(Path(__file__).parents[2]),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
        'WORLD_SIZE': '2',
    }
    running = [
        subprocess.Popen(
            [sys.executable, worker.__file__, *arguments, 'pytorch'],
            env={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]


def test_two_processes_give_the_result_of_one(spec_of, tmp_path):
    pytest.importorskip('imagecorruptions')
    spec = spec_of('mmpretrain')
    found = []
    for name, measure in (
        ('one', lambda arguments: worker.main(*arguments, 'none')),
        ('two', of_two_processes),
    ):
        (tmp_path / name).mkdir()
        measure([spec.config, spec.checkpoint, str(tmp_path / name)])
        found.append(json.loads((tmp_path / name / 'result.json').read_text()))
    one, two = found
    assert two['order'] == [0, 1, 4, 9, 16]
    assert two['robustness'] == one['robustness']
    for name in ('loss', 'gradient', 'product', 'spectrum'):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    for name, value in one['landscape'].items():
        assert two['landscape'][name] == pytest.approx(value, rel=1e-5), name

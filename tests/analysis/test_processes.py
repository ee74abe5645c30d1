"""Two processes must find what one finds."""

import json
import os
import socket

import pytest
import torch
from torch import nn

from mmgcp.analysis.hessian import SampleLoss, hessian_product
from mmgcp.analysis.robustness import robustness
from mmgcp.analysis.sample import Settings, load_run, sample_batches
from mmgcp.analysis.spectrum import spectrum
from mmgcp.engine.distributed import gather, is_main, join_group, leave_group, mine
from mmgcp.engine.landscape import loss_landscape


def measure(spec, out):
    """What each process does; the first one writes ``result.json``."""
    settings = Settings(images=5, batch_size=2, split='test', device='cpu')
    row = spectrum([spec], out, settings)['runs'][0]
    result = {'spectrum': row['stages']['stage4']['eigenvalues'][:5].tolist()}

    run = load_run(spec, settings)
    loss = SampleLoss(run.model, sample_batches(run, 'train', 5, 2, 0), 'head.')
    result['loss'] = loss.value()
    result['gradient'] = float(loss.gradient().norm())
    vector = torch.linspace(-1, 1, loss.numel, dtype=torch.float64)
    result['product'] = float(hessian_product(loss)(vector).norm())

    # Each process holds a part of one batch.
    whole = torch.arange(8.0).view(4, 2)
    local, stem = torch.stack(mine(list(whole))), nn.Identity()
    result['landscape'] = loss_landscape(
        lambda: stem(local).pow(3).sum(1).mean(), stem, [0.1, 0.2], True
    )
    settings = Settings(device='cpu', options={'test_dataloader.num_workers': 0})
    (row,) = robustness([spec], out, settings, ['gaussian_noise'], [5])['runs']
    result['robustness'] = row['table']['gaussian_noise'][5]
    result['order'] = gather([i * i for i in mine(range(5))])
    if is_main():
        (out / 'result.json').write_text(json.dumps(result))


def in_a_group(rank, port, spec, out):
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE='2')
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    join_group('pytorch')
    measure(spec, out)
    leave_group()


def test_two_processes_give_the_result_of_one(spec_of, tmp_path, monkeypatch):
    pytest.importorskip('imagecorruptions')
    spec = spec_of('mmpretrain')
    one, two = tmp_path / 'one', tmp_path / 'two'
    measure(spec, one)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    torch.multiprocessing.spawn(in_a_group, (port, spec, two), nprocs=2)
    one, two = (json.loads((out / 'result.json').read_text()) for out in (one, two))
    assert two['order'] == [0, 1, 4, 9, 16]
    assert two['robustness'] == one['robustness']
    for name in ('loss', 'gradient', 'product', 'spectrum'):
        assert two[name] == pytest.approx(one[name], rel=1e-5), name
    for name, value in one['landscape'].items():
        assert two['landscape'][name] == pytest.approx(value, rel=1e-5), name

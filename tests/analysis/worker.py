"""What one process of the multi-process test does."""

import json
import sys

import torch
from torch import nn

from mmgcp.analysis.hessian import SampleLoss, hessian_product
from mmgcp.analysis.robustness import robustness
from mmgcp.analysis.sample import RunSpec, Settings, load_run, sample_batches
from mmgcp.analysis.spectrum import spectrum
from mmgcp.engine.distributed import gather, is_main, leave_group, mine, start
from mmgcp.engine.landscape import loss_landscape


def main(config: str, checkpoint: str, out: str, launcher: str) -> None:
    start(launcher)
    spec = RunSpec(config, checkpoint, 'run')
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
        with open(f'{out}/result.json', 'w') as file:
            json.dump(result, file)
    leave_group()


if __name__ == '__main__':
    main(*sys.argv[1:])

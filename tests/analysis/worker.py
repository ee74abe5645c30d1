"""What one process of the multi-process test does."""

import json
import sys

import torch
from torch import nn

from mmgcp.engine.distributed import gather, is_main, mine, start
from mmgcp.analysis.runs import RunSpec
from mmgcp.engine.distributed import leave_group


def main(config: str, checkpoint: str, out: str, launcher: str) -> None:
    start(launcher)
    from mmgcp.analysis.hessian import backward_product
    from mmgcp.engine.landscape import loss_landscape
    from mmgcp.analysis.loss import SampleLoss
    from mmgcp.analysis.robustness import robustness
    from mmgcp.analysis.runs import load_run, sample_batches
    from mmgcp.analysis.spectrum import spectrum

    spec = RunSpec(config, checkpoint, 'run')
    row = spectrum([spec], out, images=5, batch_size=2, device='cpu')['runs'][0]
    result = {'spectrum': row['stages']['stage4']['eigenvalues'][:5].tolist()}

    run = load_run(spec, device='cpu')
    loss = SampleLoss(run.model, sample_batches(run, 'train', 5, 2, 0), 'head.')
    result['loss'] = loss.value()
    result['gradient'] = float(loss.gradient().norm())
    ones = torch.ones(loss.numel, dtype=torch.float64)
    result['product'] = float(backward_product(loss)(ones).norm())

    # Each process holds a part of one batch.
    whole = torch.arange(8.0).view(4, 2)
    local, stem = torch.stack(mine(list(whole))), nn.Identity()
    result['landscape'] = loss_landscape(
        lambda: stem(local).pow(3).sum(1).mean(), stem, [0.1, 0.2], True
    )
    table = robustness(
        [spec],
        out,
        ['gaussian_noise'],
        [5],
        launcher=launcher,
        options={'test_dataloader.num_workers': 0},
    )['runs'][0]['table']
    result['robustness'] = table['gaussian_noise'][5]
    result['order'] = gather([i * i for i in mine(range(5))])
    if is_main():
        with open(f'{out}/result.json', 'w') as file:
            json.dump(result, file)
    leave_group()


if __name__ == '__main__':
    main(*sys.argv[1:])

"""Train a step of each kind, or take up what another stack trained; run by a test."""

import json
import sys
from pathlib import Path

import torch
from mmengine.runner import runner as mmengine_runner

from mmgcp.engine import training as tools
from mmgcp.weights.convert import convert_checkpoint

# Asking the compilers for their versions takes longer than these trainings.
mmengine_runner.collect_env = dict

CONFIGS = Path(__file__).parents[2] / 'configs'
KINDS = {
    'classifier': CONFIGS / 'pretrain/resnet18-w8-isqrt_scenes.py',
    'detector': CONFIGS / 'detection/mask-rcnn_r18-w8_fpn_scenes.py',
    'segmentor': CONFIGS / 'segmentation/upernet_r18-w8_scenes.py',
}


def train(kind: str, folder: Path, epochs: int, resume: str | None = None) -> Path:
    options = {
        'train_cfg.max_epochs': epochs,
        'default_hooks.logger.interval': 1,
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
    }
    tools.train(KINDS[kind], str(folder / kind), resume=resume, cfg_options=options)
    return folder / kind / f'epoch_{epochs}.pth'


def evaluate(kind: str, checkpoint: Path, folder: Path) -> dict:
    metrics = tools.evaluate(KINDS[kind], str(checkpoint), str(folder / 'test'))
    return {key: float(value) for key, value in metrics.items()}


def write(folder: Path) -> dict:
    """A checkpoint of each kind, with the metrics of the stack that wrote it."""
    return {
        kind: evaluate(kind, train(kind, folder, 1), folder / kind) for kind in KINDS
    }


def read(theirs: Path, folder: Path) -> dict:
    """Test, resume and export what the other stack wrote."""
    results = {}
    for kind in KINDS:
        checkpoint = theirs / kind / 'epoch_1.pth'
        metrics = evaluate(kind, checkpoint, folder / kind)
        resumed = train(kind, folder, 2, resume=str(checkpoint))
        steps = [
            int(state['step'])
            for path in (checkpoint, resumed)
            for state in [next(iter(states(path).values()))]
        ]
        results[kind] = {'metrics': metrics, 'steps': steps}
    convert_checkpoint(theirs / 'classifier/epoch_1.pth', folder / 'encoder.pth')
    encoder = torch.load(folder / 'encoder.pth', weights_only=True)
    results['encoder'] = sorted(encoder['state_dict'])
    return results


def states(path: Path) -> dict:
    """The optimizer's state of every parameter in a checkpoint."""
    return torch.load(path, weights_only=False)['optimizer']['state']


if __name__ == '__main__':
    *folders, out = map(Path, sys.argv[2:])
    found = {'write': write, 'read': read}[sys.argv[1]](*folders)
    out.write_text(json.dumps(found))

"""What every rank of a test does; started by torchrun, one JSON result per rank."""

import functools
import json
import os
import sys
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import numpy as np
import torch
import torch.distributed as dist
from mmengine.model import BaseModel
from torch import nn

from mmgcp.engine import training as tools
from mmgcp.engine.distributed import join_group, leave_group
from mmgcp.layers import DropCov

CONFIGS = Path(__file__).parents[2] / 'configs'
DETECT = CONFIGS / 'detection/mask-rcnn_r18-w8_fpn_scenes.py'
SEGMENT = CONFIGS / 'segmentation/fpn_r18-w8_scenes.py'


@functools.cache
def _register_oracles() -> None:
    """Models that predict a disturbed truth: figures between 0 and 100 %."""
    from mmdet.registry import MODELS as DETECTORS
    from mmengine.structures import InstanceData, PixelData
    from mmseg.registry import MODELS as SEGMENTORS

    class Oracle(BaseModel):
        def __init__(self, data_preprocessor=None, **_):
            super().__init__(data_preprocessor)
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, inputs, data_samples=None, mode='predict'):
            assert mode == 'predict'
            return [self.disturb(sample) for sample in data_samples]

    @DETECTORS.register_module()
    class OracleDetector(Oracle):
        def disturb(self, sample):
            rng = np.random.default_rng(int(sample.img_id))
            truth = sample.gt_instances
            count = len(truth.labels)
            shift = torch.from_numpy(rng.normal(0, 2.5, (count, 4))).float()
            labels = torch.as_tensor(truth.labels).clone()
            wrong = torch.from_numpy(rng.random(count) < 0.2)
            labels[wrong] = (labels[wrong] + 1) % 10
            masks = torch.from_numpy(truth.masks.to_ndarray().astype(bool))
            sample.pred_instances = InstanceData(
                bboxes=truth.bboxes.tensor + shift
                if hasattr(truth.bboxes, 'tensor')
                else truth.bboxes + shift,
                labels=labels,
                scores=torch.from_numpy(rng.random(count)).float(),
                masks=torch.roll(masks, int(rng.integers(3)), dims=2),
            )
            return sample

    @SEGMENTORS.register_module()
    class OracleSegmentor(Oracle):
        def disturb(self, sample):
            labels = sample.gt_sem_seg.data.clone()
            labels[labels == 255] = 3
            seed = int(Path(sample.img_path).stem)
            noise = np.random.default_rng(seed).random(labels.shape) < 0.3
            labels[torch.from_numpy(noise)] = seed % 10
            sample.pred_sem_seg = PixelData(data=labels)
            return sample


def evaluation(folder: Path, launcher: str, round_up: bool = True) -> dict:
    """Evaluate both oracles in batches of 2 on the test split."""
    _register_oracles()
    checkpoint = folder / 'empty.pth'
    if not checkpoint.exists():
        torch.save({'state_dict': {'unused': torch.zeros(1)}}, checkpoint)
    results = {}
    for name, config, kind in (
        ('det', DETECT, 'OracleDetector'),
        ('seg', SEGMENT, 'OracleSegmentor'),
    ):
        cfg = tools.load_config(
            config,
            {
                'test_dataloader.batch_size': 2,
                'test_dataloader.sampler.round_up': round_up,
            },
        )
        cfg.model = dict(type=kind, data_preprocessor=cfg.model.data_preprocessor)
        written = folder / f'{name}.py'
        if int(os.environ.get('RANK', 0)) == 0:
            cfg.dump(written)
        if launcher != 'none':
            join_group(launcher, {})
            dist.barrier()
        metrics = tools.evaluate(
            written, str(checkpoint), str(folder / 'work'), launcher=launcher
        )
        results[name] = {key: float(value) for key, value in metrics.items()}
    return results


def training(launcher: str) -> dict:
    """Three SGD steps of a model without batch statistics, 8 samples per step."""
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import OptimWrapper

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Flatten()
            )
            self.head = nn.Linear(8 * 36, 5)

        def forward(self, inputs, labels, mode='loss'):
            logits = self.head(self.net(inputs))
            return {'loss': nn.functional.cross_entropy(logits, labels)}

    torch.manual_seed(0)
    model = Model()
    images, labels = torch.randn(24, 3, 8, 8), torch.randint(5, (24,))
    rank, world = 0, 1
    if launcher != 'none':
        rank, world = dist.get_rank(), dist.get_world_size()
        model = MMDistributedDataParallel(model)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    for step in range(3):
        mine = slice(8 * step + rank, 8 * step + 8, world)
        model.train_step({'inputs': images[mine], 'labels': labels[mine]}, wrapper)
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {'weights': flat.double().tolist()}


def rates() -> dict:
    """Rates of channel dropout for other samples on each rank, not averaged and averaged."""
    generator = torch.Generator().manual_seed(7 + dist.get_rank())
    # Variance in few channels and even importance: far from aligned, rates above 0.
    x = torch.randn(4, 32, 5, 5, generator=generator)
    x[:, 3 + 2 * dist.get_rank() :] *= 0.1
    found = {}
    for sync in (False, True):
        torch.manual_seed(0)
        module = DropCov(32, sync_rate=sync)
        found[str(sync)] = float(module.rate(x))
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    tasks = sys.argv[2].split(',')
    join_group('pytorch', {'timeout': 120})
    results: dict = {}
    if 'evaluation' in tasks:
        results['evaluation'] = evaluation(folder, 'pytorch')
    if 'uneven' in tasks:
        # One scene: without padding the second rank has no sample at all.
        os.environ['MMGCP_SCENES'] = sys.argv[3]
        results['padded'] = evaluation(folder, 'pytorch')
        results['uneven'] = evaluation(folder, 'pytorch', round_up=False)
    if 'training' in tasks:
        results['training'] = training('pytorch')
    if 'rates' in tasks:
        results['rates'] = rates()
    (folder / f'rank{dist.get_rank()}.json').write_text(json.dumps(results))
    leave_group()


if __name__ == '__main__':
    main()

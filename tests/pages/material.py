"""The files that the pages' commands name, tiny and made once per session."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import nn

from .reading import ROOT

GAP = 'configs/pretrain/resnet18-w16-gap_scenes.py'
ISQRT = 'configs/pretrain/resnet18-w16-isqrt_scenes.py'
DETECTOR = 'configs/detection/mask-rcnn_r18-w16_fpn_scenes.py'
SEGMENTER = 'configs/segmentation/upernet_r18-w16_scenes.py'
SEM_FPN = 'configs/segmentation/fpn_r18-w16_scenes.py'
MASK_RCNN = 'configs/detection/mask-rcnn_r50-gcp-m_fpn_1x_coco.py'
UPERNET = 'configs/segmentation/upernet_r50-gcp-m_4xb4-160k_ade20k-512x512.py'
CLASSIFIER = 'configs/pretrain/resnet50-isqrt_8xb32-lrnorm_in1k.py'


def scenes(path: Path) -> None:
    from mmgcp.datasets.scenes import ScenesSpec, make_scenes

    make_scenes(
        path,
        ScenesSpec(train=4, val=2, test=2, size=64, crops=1, eval_crops=1, digits=5),
    )


def coco(path: Path) -> None:
    from tiny_datasets import make_coco

    make_coco(path, train=10)


def ade20k(path: Path) -> None:
    from tiny_datasets import make_ade20k

    make_ade20k(path, training=10)


def imagenet(path: Path) -> None:
    from tiny_datasets import make_imagenet

    make_imagenet(path)


def picture(path: Path) -> None:
    import numpy as np
    from tiny_datasets import picture

    picture(np.random.default_rng(0)).save(path)


def photos(path: Path) -> None:
    path.mkdir()
    for name in ('a.jpg', 'b.png'):
        picture(path / name)


@cache
def trained(config: str) -> Callable[[Path], None]:
    """A checkpoint as a training with a config leaves it."""

    def make(path: Path) -> None:
        from mmgcp.utils.config import load_config
        from mmgcp.weights.trained_model import load_trained_model

        model = load_trained_model(load_config(ROOT / config), 'none')
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.running_mean, std=0.1)
        classes = tuple(map(str, range(10)))
        if 'coco' in config:
            from mmdet.datasets import CocoDataset

            classes = CocoDataset.METAINFO['classes']
        elif 'ade20k' in config:
            from mmseg.datasets import ADE20KDataset

            classes = ADE20KDataset.METAINFO['classes']
        palette = [[5 * i % 256, 9 * i % 256, i] for i in range(len(classes))]
        meta = dict(epoch=1, dataset_meta=dict(classes=classes, palette=palette))
        torch.save(dict(state_dict=model.state_dict(), meta=meta), path)

    return make


@cache
def official(kind: str, depth: int, dims: int, classes: int = 10):
    """A ResNet in the layout of its authors, with random weights."""

    def make(path: Path) -> None:
        from weights.networks import CovarianceResNet, randomise

        network = CovarianceResNet(depth, dims, kind)
        network.fc = nn.Linear(dims * (dims + 1) // 2, classes)
        tensors = randomise(network).state_dict()
        tensors = {f'module.{name}': tensor for name, tensor in tensors.items()}
        torch.save(dict(epoch=99, state_dict=tensors), path)

    return make


@cache
def converted(source: Callable[[Path], None], to: str) -> Callable[[Path], None]:
    """What conversion makes of a file."""

    def make(path: Path) -> None:
        from mmgcp.weights import convert_checkpoint

        official_file = path.with_suffix('.pth.tar')
        source(official_file)
        convert_checkpoint(official_file, path, to=to)

    return make


def old_detector(path: Path) -> None:
    from weights.networks import randomise
    from weights.test_mmdet_v1 import OldDetector

    torch.save(dict(meta={}, state_dict=randomise(OldDetector()).state_dict()), path)


def transformer(path: Path) -> None:
    from weights.networks import randomise
    from weights.token_networks import TokenNet

    network = TokenNet(384, 12, 6, 1536, 6, 24, groups=3, side=14)
    tensors = randomise(network).state_dict()
    torch.save(dict(state_dict=tensors, state_dict_ema=tensors), path)


R18 = official('isqrt', 18, 32)
R50 = official('isqrt', 50, 32)
DROPCOV = official('dropcov', 50, 32)
ENCODER = converted(R50, 'encoder')
# By page: the path in the checkout, and what makes it.
FILES: dict[str, dict[str, Callable[[Path], None]]] = {
    'README.md': {'R50_GCP.pth.tar': R50},
    'analyses.md': {
        'data/scenes': scenes,
        **dict.fromkeys(
            ('trained.pth', 'epoch_1.pth', 'epoch_2.pth', 'before.pth', 'after.pth'),
            trained(GAP),
        ),
    },
    'convert.md': {
        'R18_GCP.pth.tar': R18,
        'checkpoints/resnet50-isqrt.pth': ENCODER,
    },
    'detection.md': {
        'data/coco': coco,
        'checkpoints/resnet50-isqrt.pth': ENCODER,
        'another.pth': ENCODER,
    },
    'distributed.md': {
        'data/scenes': scenes,
        'data/coco': coco,
        'checkpoints/resnet50-isqrt.pth': ENCODER,
        'trained.pth': trained(MASK_RCNN),
    },
    'existing_project.md': {
        'data/scenes': scenes,
        'data/coco': coco,
        'resnet50_gcp.pth.tar': R50,
        'epoch_12.pth': trained(MASK_RCNN),
        'iter_160000.pth': trained(UPERNET),
        'classifier.pth': converted(official('isqrt', 50, 256, 1000), 'classifier'),
        'image.jpg': picture,
    },
    'export.md': {
        'work_dirs/isqrt/epoch_14.pth': trained(ISQRT),
        'digit.png': picture,
    },
    'model_zoo.md': {
        'data/imagenet': imagenet,
        'source.pth': official('dropcov', 18, 64, 1000),
        'source-128.pth': converted(official('isqrt', 18, 128, 1000), 'classifier'),
        'R50_GCP_LRnorm.pth.tar': R50,
        'mpncovresnet50-15991845.pth': R50,
        'faster_rcnn_r50_gcp_m.pth': old_detector,
        'transformer.pth': transformer,
    },
    'performance.md': {
        'data/scenes': scenes,
        'detector.pth': trained(DETECTOR),
        'segmenter.pth': trained(SEM_FPN),
    },
    'predict.md': {
        'data/scenes': scenes,
        'photos': photos,
        'street.jpg': picture,
        'work_dirs/seg/epoch_12.pth': trained(SEGMENTER),
        'work_dirs/seg-gap/epoch_12.pth': trained(SEGMENTER),
        'work_dirs/seg-dropcov/epoch_12.pth': trained(SEGMENTER),
        'work_dirs/det/epoch_12.pth': trained(DETECTOR),
    },
    'pretrain.md': {
        'data/imagenet': imagenet,
        'work_dirs/resnet50/epoch_50.pth': trained(CLASSIFIER),
    },
    'scenes.md': {},
    'segmentation.md': {
        'data/ade/ADEChallengeData2016': ade20k,
        'checkpoints/resnet50-isqrt.pth': ENCODER,
    },
    'troubleshooting.md': {'data/coco': coco, 'downloads/r50.pth': R50},
}


class Store:
    """Makes each file once and lends it to checkouts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[Callable, Path] = {}

    def put(self, make: Callable[[Path], None], path: Path) -> None:
        """Put what ``make`` makes at a path; folders are copied, commands write there."""
        if make not in self.made:
            source = self.folder / str(len(self.made)) / path.name
            source.parent.mkdir(parents=True)
            make(source)
            self.made[make] = source
        path.parent.mkdir(parents=True, exist_ok=True)
        source = self.made[make]
        if source.is_dir():
            shutil.copytree(source, path)
        else:
            path.symlink_to(source)

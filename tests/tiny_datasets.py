"""A few images in the layouts of COCO, ADE20K and ImageNet."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (120, 160)  # height, width


def picture(rng: np.random.Generator) -> Image.Image:
    """Coarse random colours, so that a JPEG keeps something of them."""
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BILINEAR)


def make_coco(root: Path, train: int = 4, val: int = 2) -> Path:
    """``train2017``, ``val2017`` and their instances with boxes and polygons."""
    rng = np.random.default_rng(0)
    categories = [{'id': i, 'name': name} for i, name in enumerate(_classes(), 1)]
    (root / 'annotations').mkdir(parents=True)
    for split, count in (('train2017', train), ('val2017', val)):
        (root / split).mkdir()
        images, annotations = [], []
        for index in range(1, count + 1):
            name = f'{index:012d}.jpg'
            picture(rng).save(root / split / name)
            height, width = SIZE
            images.append(dict(id=index, file_name=name, height=height, width=width))
            for left, top, side in ((8, 8, 60), (70, 30, 80)):
                right, bottom = left + side, top + side
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index,
                        category_id=int(rng.integers(1, 81)),
                        bbox=[left, top, side, side],
                        area=side * side,
                        iscrowd=0,
                        segmentation=[
                            [left, top, right, top, right, bottom, left, bottom]
                        ],
                    )
                )
        content = dict(images=images, annotations=annotations, categories=categories)
        path = root / 'annotations' / f'instances_{split}.json'
        path.write_text(json.dumps(content))
    return root


def _classes() -> tuple[str, ...]:
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


def make_ade20k(root: Path, training: int = 4, validation: int = 2) -> Path:
    """``images`` and ``annotations``; labels 0 (ignored) to 150."""
    rng = np.random.default_rng(0)
    for split, count in (('training', training), ('validation', validation)):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index in range(1, count + 1):
            stem = f'ADE_{split[:-3]}_{index:08d}'
            picture(rng).save(root / 'images' / split / f'{stem}.jpg')
            coarse = rng.integers(0, 151, (3, 4), dtype=np.uint8)
            mask = Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.NEAREST)
            mask.save(root / 'annotations' / split / f'{stem}.png')
    return root


def make_imagenet(root: Path, train: int = 4, val: int = 2) -> Path:
    """``train``, ``val`` and the lists in ``meta``."""
    rng = np.random.default_rng(0)
    (root / 'meta').mkdir(parents=True)
    for split, count in (('train', train), ('val', val)):
        lines = []
        for index in range(count):
            label = 10 * index
            name = f'n{label:08d}/{index}.JPEG'
            path = root / split / name
            path.parent.mkdir(parents=True)
            picture(rng).save(path, format='JPEG')
            lines.append(f'{name} {label}\n')
        (root / 'meta' / f'{split}.txt').write_text(''.join(lines))
    return root


MAKERS = {
    'pretrain': make_imagenet,
    'detection': make_coco,
    'segmentation': make_ade20k,
}

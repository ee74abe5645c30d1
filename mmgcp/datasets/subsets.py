"""Deterministic subsets of COCO and ADE20K for low-data transfer.

A sample is in the subset of ``p`` percent when the digest of seed and name is among
the lowest ``p`` percent: the same on every machine, whatever the order of the files,
and each subset contains the smaller ones of its seed.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from mmgcp.utils.files import write_text

from .checking import DataError, file_names, read_coco


def choose(names: Iterable[str], percent: float, seed: int = 0) -> list[str]:
    """Choose ``percent`` of the names, at least one, and sort them."""
    if not 0 < percent <= 100:
        raise DataError(f'--percent {percent}: give more than 0 and at most 100')
    ranked = sorted(
        set(names), key=lambda name: hashlib.sha256(f'{seed}:{name}'.encode()).digest()
    )
    return sorted(ranked[: max(1, round(len(ranked) * percent / 100))])


def subset_coco(
    ann_file: str | os.PathLike, percent: float, seed: int = 0
) -> tuple[Path, int]:
    """Write ``NAME_{percent}pct_seed{seed}.json``; return it and its number of images."""
    path = Path(ann_file)
    content = read_coco(path)
    kept = set(choose((i['file_name'] for i in content['images']), percent, seed))
    images = [image for image in content['images'] if image['file_name'] in kept]
    ids = {image['id'] for image in images}
    chosen = [item for item in content['annotations'] if item['image_id'] in ids]
    target = path.with_name(f'{path.stem}_{percent:g}pct_seed{seed}.json')
    write_text(target, json.dumps({**content, 'images': images, 'annotations': chosen}))
    return target, len(images)


def subset_ade20k(
    root: str | os.PathLike, percent: float, seed: int = 0
) -> tuple[Path, int]:
    """Write ``lists/training_{percent}pct_seed{seed}.txt``; return it and its length."""
    folder = Path(root, 'images', 'training')
    names = [name[:-4] for name in file_names(folder, '.jpg')]
    if not names:
        raise DataError(f'{folder}: expected images that end in .jpg, found none')
    kept = choose(names, percent, seed)
    target = Path(root, 'lists', f'training_{percent:g}pct_seed{seed}.txt')
    write_text(target, ''.join(f'{name}\n' for name in kept))
    return target, len(kept)

"""CIFAR-10, BCCD and CamVid in the layout of the study on photographs.

Read are the published archives (CIFAR-10's binary version, the repositories of BCCD and
of SegNet's CamVid), and archives that have the layout already::

    cifar10/{train,val,test}/CLASS/*.jpg
    bccd/{train,val,test}.json, bccd/{train,val,test}/*.jpg
    camvid/img/{train,val,test}/*.jpg, camvid/ann/{train,val,test}/*.png
"""

import json
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmgcp.utils.progress import track

from .checking import SPLITS, DataError
from .scenes import save_image
from .verifying import Findings, check_own_data

CELLS = ('RBC', 'WBC', 'Platelets')
#: CamVid's classes; the last one is ignored.
STREETS = (
    *('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car'),
    *('pedestrian', 'bicyclist', 'void'),
)
#: CIFAR-10 has no validation images: the last ones of its training images.
CIFAR_VAL = 5000


def prepare_photographs(archives: dict[str, Path], out: Path) -> dict[str, Findings]:
    """Unpack archives below ``out`` and look into every file.

    A data set that is there already is only looked at. One that cannot be read leaves
    nothing behind.

    Args:
        archives: By name of the data set: ``cifar10``, ``bccd`` or ``camvid``.
        out: Folder of the data sets.

    Returns:
        What was found in each data set.

    Raises:
        DataError: An archive is missing, damaged, or of another layout.
    """
    for name, archive in archives.items():
        if not (out / name).exists():
            _prepare(name, archive, out)
    return {name: check_photographs(name, out / name) for name in archives}


def check_photographs(name: str, root: Path) -> Findings:
    """Look into every file of a prepared data set."""
    parts: dict[str, dict] = {
        'cifar10': {s: root / s for s in SPLITS},
        'bccd': {
            s: {'images': root / s, 'annotations': root / f'{s}.json'} for s in SPLITS
        },
        'camvid': {
            s: {'images': root / 'img' / s, 'masks': root / 'ann' / s} for s in SPLITS
        }
        | {'classes': STREETS},
    }
    kinds = dict(cifar10='classification', bccd='detection', camvid='segmentation')
    return check_own_data({kinds[name]: parts[name]})[kinds[name]]


def _prepare(name: str, archive: Path, out: Path) -> None:
    if not archive.is_file():
        raise DataError(
            f'{archive}: no such file; docs/photographs.md says what to get'
        )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=f'.{name}-') as folder:
        unpacked, made = Path(folder, 'unpacked'), Path(folder, name)
        # Members outside of the folder are refused; zip files cannot have them.
        safe: dict = {} if archive.suffix == '.zip' else {'filter': 'data'}
        try:
            shutil.unpack_archive(archive, unpacked, **safe)
        except Exception as error:
            raise DataError(
                f'{archive} is no archive or is damaged ({error}); get it again'
            ) from error
        sign, convert, first = LAYOUTS[name]
        found = next(unpacked.rglob(sign), None)
        try:
            if found is not None:
                convert(found.parent, made)
            else:
                laid_out = [
                    r for r in (unpacked, unpacked / name) if (r / first).exists()
                ]
                laid_out[0].rename(made)
        except (LookupError, ValueError, OSError, TypeError, ET.ParseError) as error:
            raise DataError(
                f'{archive}: neither the published archive of {name} nor a folder '
                f'{name} in the layout of docs/photographs.md ({error})'
            ) from error
        made.rename(out / name)


def _cifar10(source: Path, made: Path) -> None:
    """Records of a label and 3 x 32 x 32 bytes, 10,000 in a file."""
    names = (source / 'batches.meta.txt').read_text().split()
    files = sorted(source.glob('data_batch_*.bin'))
    train = np.concatenate([np.fromfile(f, np.uint8).reshape(-1, 3073) for f in files])
    test = np.fromfile(source / 'test_batch.bin', np.uint8).reshape(-1, 3073)
    parts = {'train': train[:-CIFAR_VAL], 'val': train[-CIFAR_VAL:], 'test': test}
    for split, records in parts.items():
        for index, record in enumerate(track(records, f'cifar10 {split}')):
            pixels = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            save_image(made / split / names[record[0]] / f'{index:05d}.jpg', pixels)


def _bccd(source: Path, made: Path) -> None:
    """Pascal VOC: an XML file for each image, lists of the splits."""
    for split in SPLITS:
        listed = (source / 'ImageSets' / 'Main' / f'{split}.txt').read_text().split()
        images: list[dict] = []
        annotations: list[dict] = []
        for name in track(listed, f'bccd {split}'):
            tree = ET.parse(source / 'Annotations' / f'{name}.xml')
            width, height = (int(_text(tree, f'size/{k}')) for k in ('width', 'height'))
            file = {'file_name': f'{name}.jpg', 'width': width, 'height': height}
            images.append({'id': len(images), **file})
            for item in tree.iter('object'):
                left, top, right, bottom = (
                    float(_text(item, f'bndbox/{k}'))
                    for k in ('xmin', 'ymin', 'xmax', 'ymax')
                )
                box = [left, top, right - left, bottom - top]
                annotations.append(
                    {
                        'id': len(annotations) + 1,
                        'image_id': images[-1]['id'],
                        'category_id': CELLS.index(_text(item, 'name')) + 1,
                        'bbox': box,
                        'area': box[2] * box[3],
                        'iscrowd': 0,
                    }
                )
            (made / split).mkdir(parents=True, exist_ok=True)
            shutil.copy(source / 'JPEGImages' / f'{name}.jpg', made / split)
        categories = [{'id': i + 1, 'name': name} for i, name in enumerate(CELLS)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (made / f'{split}.json').write_text(json.dumps(content))


def _text(node: Any, path: str) -> str:
    found = node.findtext(path)
    if found is None:
        raise ValueError(f'an annotation lacks {path}')
    return found


def _camvid(source: Path, made: Path) -> None:
    """SegNet's folders: ``train`` and ``trainannot``, and so on."""
    for split in SPLITS:
        (made / 'ann' / split).mkdir(parents=True)
        for path in track(sorted((source / split).glob('*.png')), f'camvid {split}'):
            target = made / 'img' / split / f'{path.stem}.jpg'
            save_image(target, np.asarray(Image.open(path)))
            shutil.copy(source / f'{split}annot' / path.name, made / 'ann' / split)


#: What a published archive is known by, how it is converted, and what the layout of the
#: study is known by.
LAYOUTS: dict[str, tuple[str, Callable[[Path, Path], None], str]] = {
    'cifar10': ('batches.meta.txt', _cifar10, 'train'),
    'bccd': ('JPEGImages', _bccd, 'train.json'),
    'camvid': ('trainannot', _camvid, 'img'),
}

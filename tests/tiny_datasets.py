"""A few images in the layouts of COCO, ADE20K, ImageNet and fine-grained sets."""

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


def make_cub(root: Path) -> Path:
    """``images`` and the lists of names, labels and splits."""
    rng = np.random.default_rng(0)
    names = ['001.Black_footed_Albatross/a.jpg', '200.Common_Yellowthroat/b.jpg'] * 2
    names = [name.replace('.jpg', f'{i}.jpg') for i, name in enumerate(names)]
    lists: dict = dict(images=names, image_class_labels=[1, 200, 1, 200])
    lists['train_test_split'] = [1, 1, 0, 0]
    for name in names:
        (root / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        picture(rng).save(root / 'images' / name)
    for name, values in lists.items():
        lines = [f'{number} {value}\n' for number, value in enumerate(values, 1)]
        (root / f'{name}.txt').write_text(''.join(lines))
    return root


def make_cars(root: Path) -> Path:
    """``cars_train``, ``cars_test`` and the annotations of the devkit."""
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    (root / 'devkit').mkdir(parents=True)
    for split, file in (('train', 'train_annos'), ('test', 'test_annos_withlabels')):
        (root / f'cars_{split}').mkdir()
        rows = [(f'{i:05d}.jpg', label) for i, label in ((1, 1), (2, 196))]
        for name, _ in rows:
            picture(rng).save(root / f'cars_{split}' / name)
        table = np.array([rows], [('fname', object), ('class', object)])
        savemat(root / f'devkit/cars_{file}.mat', {'annotations': table})
    return root


def make_aircraft(root: Path) -> Path:
    """``data/images`` and the lists of variants."""
    rng = np.random.default_rng(0)
    (root / 'data/images').mkdir(parents=True)
    for split, numbers in (('trainval', (1, 2)), ('test', (3, 4))):
        lines = []
        for number, variant in zip(numbers, ('707-320', 'Yak-42'), strict=True):
            picture(rng).save(root / f'data/images/{number:07d}.jpg')
            lines.append(f'{number:07d} {variant}\n')
        (root / f'data/images_variant_{split}.txt').write_text(''.join(lines))
    return root


def make_inat(root: Path) -> Path:
    """``train_val_images`` and the JSON files of both splits."""
    rng = np.random.default_rng(0)
    for split, numbers in (('train', (1, 2)), ('val', (3, 4))):
        images, annotations = [], []
        for number, label in zip(numbers, (0, 5088), strict=True):
            name = f'train_val_images/Aves/Species {label}/{number}.jpg'
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            picture(rng).save(root / name)
            height, width = SIZE
            images.append(dict(id=number, file_name=name, height=height, width=width))
            annotations.append(dict(id=number, image_id=number, category_id=label))
        categories = [dict(id=i, name=f'Species {i}') for i in reversed(range(5089))]
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f'{split}2017.json').write_text(json.dumps(content))
    return root


def make_own(root: Path) -> dict:
    """A user's own data, described as in ``own_data`` of a study."""

    def save(path: Path, image: Image.Image) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
        return path

    data: dict = {'classification': {}, 'detection': {}, 'segmentation': {}}
    photograph = Image.new('RGB', (20, 10), (90, 120, 30))
    labels = np.zeros((10, 20), np.uint8)
    labels[:5], labels[0, 0] = 1, 255
    for split in ('train', 'val'):
        for name in ('cat', 'dog'):
            save(root / split / name / '0.png', photograph)
        data['classification'][split] = str(root / split)
        images = str(save(root / 'img' / split / 'a.jpg', photograph).parent)
        content = {
            'images': [dict(id=1, file_name='a.jpg', width=20, height=10)],
            'categories': [dict(id=7, name='cat'), dict(id=9, name='dog')],
            'annotations': [
                dict(id=i, image_id=1, category_id=i, bbox=[1, 1, 5, 5], area=25)
                for i in (7, 9)
            ],
        }
        file = root / f'{split}.json'
        file.write_text(json.dumps(content))
        data['detection'][split] = {'images': images, 'annotations': str(file)}
        mask = save(root / 'ann' / split / 'a.png', Image.fromarray(labels))
        data['segmentation'][split] = {'images': images, 'masks': str(mask.parent)}
    return data


FINE_GRAINED = dict(
    cub=make_cub, cars=make_cars, aircraft=make_aircraft, inat2017=make_inat
)
MAKERS = {
    'pretrain': make_imagenet,
    'detection': make_coco,
    'segmentation': make_ade20k,
}

"""Point a framework config at the user's own data: paths, classes, length."""

from os.path import abspath
from pathlib import Path
from typing import Any

from mmgcp.utils.config import innermost_dataset

from .checking import IMAGE_SUFFIXES, SPLITS, DataError, file_names
from .verifying import class_names

PARTS = {
    'mmpretrain': 'classification',
    'mmdet': 'detection',
    'mmseg': 'segmentation',
}
_EPOCHS = 50
_FEWEST_ITERATIONS = 1000


def own_data_changes(
    values: dict[str, Any], own_data: dict[str, Any], total_batch: int
) -> dict[str, Any]:
    """Changes that make a config train and evaluate on own data.

    Pipelines, model and schedule are kept. A schedule in iterations that is longer
    than ``epochs`` passes (default 50) over the images is shortened to them. A config
    of a kind that ``own_data`` of the study does not have needs no changes.

    Args:
        values: The whole config.
        own_data: ``classification``, ``detection`` and ``segmentation``: files and
            folders by split.
        total_batch: Images per training step of all processes.
    """
    part = PARTS.get(values.get('default_scope', ''), '')
    data = own_data.get(part)
    if not data:
        return {}
    data = {**data, 'test': data.get('test') or data['val']}
    classes = class_names(part, data)
    changes = {'model': with_num_classes(values['model'], len(classes))}
    if part == 'classification' and 'data_preprocessor' in values:
        changes['data_preprocessor'] = {'num_classes': len(classes)}
    for split in SPLITS:
        old = innermost_dataset(values[f'{split}_dataloader']['dataset'])
        new = {'_delete_': True, 'pipeline': old['pipeline']}
        if part == 'classification':
            new |= {
                'type': 'CustomDataset',
                'data_root': abspath(data[split]),
                'classes': classes,
                'extensions': IMAGE_SUFFIXES,
            }
            evaluator: dict[str, Any] = {'topk': (1,)}
        elif part == 'detection':
            new |= _coco_file(data[split], split, classes)
            evaluator = {'ann_file': new['ann_file']}
        else:
            reduced = bool(data.get('reduce_zero_label'))
            new |= _masks(data[split], reduced, classes, old['pipeline'])
            evaluator = {}
        changes[f'{split}_dataloader'] = {'dataset': new}
        if split != 'train':
            changes[f'{split}_evaluator'] = evaluator
    length = values['train_cfg'].get('max_iters')
    if length:
        train = data['train']
        images = train if part == 'classification' else train['images']
        count = len(file_names(images, IMAGE_SUFFIXES))
        passes = own_data.get('epochs', _EPOCHS) * count // total_batch
        short = max(_FEWEST_ITERATIONS, passes)
        if short < length:
            changes.update(shortened(values, length, short))
    return changes


def with_num_classes(part: Any, number: int) -> Any:
    """A part of a model config with every ``num_classes`` set."""
    if isinstance(part, dict):
        return {
            key: number if key == 'num_classes' else with_num_classes(value, number)
            for key, value in part.items()
        }
    if isinstance(part, list | tuple):
        return type(part)(with_num_classes(item, number) for item in part)
    return part


def shortened(values: dict[str, Any], length: int, short: int) -> dict[str, Any]:
    """Changes that train for ``short`` instead of ``length`` iterations.

    Learning-rate phases keep their share of the training; a warm-up of a few
    iterations is kept as it is.
    """

    def scaled(iteration: int) -> int:
        return iteration if iteration <= short // 10 else iteration * short // length

    schedulers = []
    for entry in values.get('param_scheduler') or []:
        entry = dict(entry)
        for key in {'begin', 'end', 'T_max'} & entry.keys():
            entry[key] = scaled(entry[key])
        if 'milestones' in entry:
            entry['milestones'] = [scaled(each) for each in entry['milestones']]
        schedulers.append(entry)
    return {
        'train_cfg': {'max_iters': short, 'val_interval': max(1, short // 10)},
        'param_scheduler': schedulers,
        'default_hooks': {'checkpoint': {'interval': max(1, short // 10)}},
    }


def _coco_file(data: dict, split: str, classes: list[str]) -> dict:
    dataset = {
        'type': 'CocoDataset',
        'metainfo': {'classes': tuple(classes)},
        'ann_file': abspath(data['annotations']),
        'data_prefix': {'img': abspath(data['images']) + '/'},
        'test_mode': split != 'train',
    }
    if split == 'train':
        dataset['filter_cfg'] = {'filter_empty_gt': True, 'min_size': 1}
    return dataset


def _masks(data: dict, reduced: bool, classes: list[str], pipeline: list[dict]) -> dict:
    zero = {'reduce_zero_label': reduced}
    return {
        'type': 'BaseSegDataset',
        'metainfo': {'classes': tuple(classes)},
        'img_suffix': image_suffix(data['images']),
        'seg_map_suffix': '.png',
        'data_prefix': {
            'img_path': abspath(data['images']),
            'seg_map_path': abspath(data['masks']),
        },
        'pipeline': [
            {**step, **zero} if step['type'] == 'LoadAnnotations' else step
            for step in pipeline
        ],
        **zero,
    }


def image_suffix(folder: str) -> str:
    """The one suffix that all images of a folder have."""
    suffixes = {Path(name).suffix for name in file_names(str(folder), IMAGE_SUFFIXES)}
    if len(suffixes) != 1:
        found = ', '.join(sorted(suffixes)) or 'none'
        raise DataError(f'{folder}: images of one suffix are needed, found {found}')
    return suffixes.pop()

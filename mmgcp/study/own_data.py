"""Point a framework config at the user's own data: paths, classes, length."""

from collections import Counter
from pathlib import Path
from typing import Any

from mmgcp.datasets.checking import IMAGE_SUFFIXES, DataError, file_names
from mmgcp.datasets.verifying import coco_classes, folder_classes, mask_classes

from .recipe import Recipe

PARTS = {
    'mmpretrain': 'classification',
    'mmdet': 'detection',
    'mmseg': 'segmentation',
}
_EPOCHS = 50
_FEWEST_ITERATIONS = 1000


def own_data_changes(recipe: Recipe, own_data: dict[str, Any]) -> dict[str, Any]:
    """Changes that make a config train and evaluate on own data.

    Args:
        recipe: The config; its pipelines, model and schedule are kept. A schedule
            in iterations is shortened to ``epochs`` passes (default 50) over the
            images when it is longer.
        own_data: ``own_data`` of the study.

    Returns:
        Nested changes; empty when the study has no own data of that kind.
    """
    part = PARTS.get(recipe.scope, '')
    data = own_data.get(part)
    if not data:
        return {}
    data = {**data, 'test': data.get('test') or data['val']}
    make = {
        'classification': _classification,
        'detection': _detection,
        'segmentation': _segmentation,
    }[part]
    classes, datasets, evaluators, images = make(recipe, data)
    changes: dict[str, Any] = {
        'model': with_classes(recipe.values['model'], len(classes))
    }
    for split, dataset in datasets.items():
        changes[f'{split}_dataloader'] = {'dataset': {'_delete_': True, **dataset}}
    for split, evaluator in evaluators.items():
        changes[f'{split}_evaluator'] = {'_delete_': True, **evaluator}
    if part == 'classification' and 'data_preprocessor' in recipe.values:
        changes['data_preprocessor'] = {'num_classes': len(classes)}
    by_epoch, length = recipe.schedule()
    if not by_epoch:
        passes = own_data.get('epochs', _EPOCHS) * images // recipe.batch_size()
        short = max(_FEWEST_ITERATIONS, passes)
        if short < length:
            changes.update(shortened(recipe.values, length, short))
    return changes


def with_classes(model: Any, number: int) -> Any:
    """Changes of a model config that set every ``num_classes``.

    A list cannot be merged, so it is given whole when something in it changes.
    """
    if isinstance(model, list):
        return [
            {**item, **with_classes(item, number)} if isinstance(item, dict) else item
            for item in model
        ]
    changes: dict[str, Any] = {}
    for key, value in model.items():
        if key == 'num_classes':
            changes[key] = number
        elif isinstance(value, dict):
            inner = with_classes(value, number)
            if inner:
                changes[key] = inner
        elif isinstance(value, list | tuple):
            dicts = [item for item in value if isinstance(item, dict)]
            if any(with_classes(item, number) for item in dicts):
                changes[key] = with_classes(list(value), number)
    return changes


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
        for key in ('begin', 'end', 'T_max'):
            if key in entry:
                entry[key] = scaled(entry[key])
        if 'milestones' in entry:
            entry['milestones'] = [scaled(each) for each in entry['milestones']]
        schedulers.append(entry)
    return {
        'train_cfg': {'max_iters': short, 'val_interval': max(1, short // 10)},
        'param_scheduler': schedulers,
        'default_hooks': {'checkpoint': {'interval': max(1, short // 10)}},
    }


def _pipeline(recipe: Recipe, split: str) -> list:
    dataset = recipe.values[f'{split}_dataloader']['dataset']
    while 'pipeline' not in dataset and isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset['pipeline']


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _classification(recipe: Recipe, data: dict) -> tuple:
    classes = folder_classes(data['train'])
    datasets = {
        split: {
            'type': 'CustomDataset',
            'data_root': _absolute(data[split]),
            'classes': classes,
            'pipeline': _pipeline(recipe, split),
        }
        for split in ('train', 'val', 'test')
    }
    evaluator = {'type': 'Accuracy', 'topk': (1,)}
    images = len(file_names(data['train'], IMAGE_SUFFIXES))
    return classes, datasets, {'val': evaluator, 'test': evaluator}, images


def _detection(recipe: Recipe, data: dict) -> tuple:
    classes = coco_classes(data['train']['annotations'])
    datasets, evaluators = {}, {}
    for split in ('train', 'val', 'test'):
        annotations = _absolute(data[split]['annotations'])
        datasets[split] = {
            'type': 'CocoDataset',
            'metainfo': {'classes': tuple(classes)},
            'ann_file': annotations,
            'data_prefix': {'img': _absolute(data[split]['images']) + '/'},
            'test_mode': split != 'train',
            'pipeline': _pipeline(recipe, split),
        }
        if split == 'train':
            datasets[split]['filter_cfg'] = {'filter_empty_gt': True, 'min_size': 1}
        else:
            metric = recipe.values[f'{split}_evaluator'].get('metric', 'bbox')
            evaluators[split] = {
                'type': 'CocoMetric',
                'ann_file': annotations,
                'metric': metric,
            }
    images = len(file_names(data['train']['images'], IMAGE_SUFFIXES))
    return classes, datasets, evaluators, images


def _segmentation(recipe: Recipe, data: dict) -> tuple:
    classes = mask_classes(data)
    reduced = bool(data.get('reduce_zero_label'))
    datasets = {}
    for split in ('train', 'val', 'test'):
        pipeline = [
            {**step, 'reduce_zero_label': reduced}
            if step['type'] == 'LoadAnnotations'
            else step
            for step in _pipeline(recipe, split)
        ]
        datasets[split] = {
            'type': 'BaseSegDataset',
            'metainfo': {'classes': tuple(classes)},
            'img_suffix': image_suffix(data[split]['images']),
            'seg_map_suffix': '.png',
            'reduce_zero_label': reduced,
            'data_prefix': {
                'img_path': _absolute(data[split]['images']),
                'seg_map_path': _absolute(data[split]['masks']),
            },
            'pipeline': pipeline,
        }
    evaluator = {'type': 'IoUMetric', 'iou_metrics': ['mIoU']}
    images = len(file_names(data['train']['images'], IMAGE_SUFFIXES))
    return classes, datasets, {'val': evaluator, 'test': evaluator}, images


def image_suffix(folder: str) -> str:
    """The one suffix that all images of a folder have.

    Raises:
        DataError: There are none, or they have different suffixes.
    """
    names = file_names(str(folder), IMAGE_SUFFIXES)
    suffixes = Counter(Path(name).suffix for name in names)
    if len(suffixes) != 1:
        found = ', '.join(f'{n} {suffix}' for suffix, n in suffixes.items())
        raise DataError(
            f'{folder}: images of one suffix are needed, found {found or "none"}'
        )
    return next(iter(suffixes))

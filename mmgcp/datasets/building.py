"""A data set of a config, checked before it is built."""

import copy
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmgcp.utils.config import framework_of, import_datasets, required

from .checking import DataError, check_config


def build_dataset(config: Config, split: str) -> Any:
    """Build a split, ``'train'``, ``'val'`` or ``'test'``; DataError if it is empty."""
    key = f'{split}_dataloader'
    settings = copy.deepcopy(required(config, f'{key}.dataset'))
    check_config(config, (key,))
    framework = framework_of(config)
    import_datasets(framework)
    with DefaultScope.overwrite_default_scope(framework):
        dataset = DATASETS.build(settings)
    if not len(dataset):
        raise DataError(
            f'{config.filename}: {key}.dataset has no sample. Look at its data_root, '
            'ann_file and filter_cfg'
        )
    return dataset

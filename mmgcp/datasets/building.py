"""A data set of a config, checked before it is built."""

import contextlib
import copy
import importlib
import io
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmgcp.utils.config import framework_of, required

from .checking import DataError, check_config


def import_datasets(framework: str) -> None:
    """Import a framework's data sets without what they print about optional ones."""
    with contextlib.redirect_stdout(io.StringIO()):
        importlib.import_module(f'{framework}.datasets')


def build_dataset(config: Config, split: str) -> Any:
    """Build a split, ``'train'``, ``'val'`` or ``'test'``; DataError if it is empty."""
    key = f'{split}_dataloader'
    settings = copy.deepcopy(required(config, f'{key}.dataset'))
    check_config(config, (key,))
    import_datasets(framework_of(config))
    with DefaultScope.overwrite_default_scope(framework_of(config)):
        dataset = DATASETS.build(settings)
    if not len(dataset):
        raise DataError(
            f'{config.filename}: {key}.dataset has no sample. Look at its data_root, '
            'ann_file and filter_cfg'
        )
    return dataset

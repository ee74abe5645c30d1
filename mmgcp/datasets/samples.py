"""Errors of single samples that name their files, in the middle of a training."""

from pathlib import Path
from typing import Any

from mmengine.dataset import Compose

from .checking import IGNORED, DataError
from .verifying import image_problem

WAY_OUT = 'tools/check_data.py lists all such files'


class NamingPipeline(Compose):
    """The steps of a data set's pipeline. What fails in them names the sample."""

    def __init__(self, steps: list, classes: int, ignored: int) -> None:
        super().__init__(steps)
        self.classes, self.ignored = classes, ignored

    def __call__(self, data: dict) -> Any:
        """Run the steps; DataError when a file or a label of a mask is wrong."""
        image, mask = data.get('img_path'), data.get('seg_map_path')
        try:
            result = super().__call__(data)
        except Exception as error:
            # Each decoder has errors of its own, and not all of them name the file.
            for path in filter(None, (image, mask)):
                problem = None if '://' in str(path) else image_problem(Path(path))
                if problem:
                    raise DataError(f'{problem}. {WAY_OUT}') from error
            raise
        sample = result.get('data_samples') if isinstance(result, dict) else None
        if sample is not None and 'gt_sem_seg' in sample:
            labels = sample.gt_sem_seg.data
            strays = labels[(labels >= self.classes) & (labels != self.ignored)]
            if len(strays):
                label = int(strays[0]) + bool(data.get('reduce_zero_label'))
                raise DataError(
                    f'{mask}: label {label}, but metainfo.classes of the data set has '
                    f'{self.classes} classes. {WAY_OUT}'
                )
        return result


def name_samples(dataset: Any) -> None:
    """Make a built data set, or those inside a wrapper, name the files that fail."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner[0] is not None:
        for each in inner:
            name_samples(each)
    elif isinstance(getattr(dataset, 'pipeline', None), Compose):
        classes = len((dataset.metainfo or {}).get('classes') or ())
        ignored = getattr(dataset, 'ignore_index', IGNORED)
        steps = dataset.pipeline.transforms
        dataset.pipeline = NamingPipeline(steps, classes, ignored)

"""The one number per framework that a run is judged by."""

from collections.abc import Iterable

# Metric and its value for a perfect model.
MAIN_METRICS = {
    'accuracy/top1': 100.0,
    'coco/bbox_mAP': 1.0,
    'coco/segm_mAP': 1.0,
    'mIoU': 100.0,
}


def main_metric(names: Iterable[str], asked: str | None = None) -> str:
    """Choose the metric to plot.

    Raises:
        KeyError: ``asked`` is not there, or nothing known is.
    """
    names = list(names)
    for candidate in [asked] if asked else MAIN_METRICS:
        if candidate in names:
            return candidate
    raise KeyError(
        f'no {asked or " or ".join(MAIN_METRICS)} among the metrics '
        f'{", ".join(sorted(names))}: name one of them with --metric'
    )

"""What an analysis writes: one JSON and one PNG of its name."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmgcp.engine.distributed import is_main
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import replacing, write_json

#: The metrics that runs of the frameworks are judged by.
MAIN_METRICS = ('accuracy/top1', 'coco/bbox_mAP', 'coco/segm_mAP', 'mIoU')


def figure(columns: int = 1, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """A figure and its axes ``(rows, columns)``, without pyplot's global state."""
    fig = Figure(figsize=(4.6 * columns, 3.5 * rows), layout='constrained')
    axes = fig.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return fig, axes


def color_of(name: str, names: Iterable[str]) -> str:
    """The color of one of some encoders, the same in every figure."""
    return f'C{list(names).index(name) % 10}'


def save_figure(fig: Figure, path: str | Path) -> None:
    """Write a PNG atomically."""
    with replacing(path) as temporary:
        fig.savefig(temporary, format='png', dpi=110)


def name_ticks(axis, names: Sequence[str]) -> None:
    """Write names below the places 0, 1, ...."""
    place = range(len(names))
    axis.set_xticks(place, names, rotation=45, ha='right', fontsize='small')


def write_result(result: dict, out: str | Path, fig: Figure) -> dict:
    """Write JSON and PNG into a folder, in the first process; return the result."""
    if is_main():
        write_json(Path(out) / f'{result["analysis"]}.json', result)
        save_figure(fig, Path(out) / f'{result["analysis"]}.png')
    return result


def main_metric(names: Iterable[str], asked: str | None, where: str) -> str:
    """The metric, among the ``names`` that ``where`` has, that a run is judged by."""
    names = list(names)
    for candidate in [asked] if asked else MAIN_METRICS:
        if candidate in names:
            return candidate
    raise UserError(
        f'{where} has no {asked or " or ".join(MAIN_METRICS)}, only '
        f'{", ".join(sorted(names))}: name one of them with --metric'
    )

"""Figures of the analyses: one PNG per analysis."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmgcp.utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure(columns: int = 1, rows: int = 1) -> tuple['Figure', np.ndarray]:
    """Make a figure without touching pyplot's global state.

    Returns:
        tuple: The figure and its axes as an array of ``(rows, columns)``.
    """
    # Training with the landscape hook needs no plotting library.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(4.6 * columns, 3.5 * rows), layout='constrained')
    FigureCanvasAgg(fig)
    axes = fig.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return fig, axes


def save_figure(fig: 'Figure', path: str | Path) -> Path:
    """Write a PNG atomically."""
    with replacing(path) as temporary:
        fig.savefig(temporary, format='png', dpi=110)
    return Path(path)


def colour(index: int) -> str:
    """Colour of the ``index``-th run, the same in every picture."""
    return f'C{index % 10}'

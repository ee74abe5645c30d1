"""Results of the analyses on disk: one JSON and one PNG per analysis."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmgcp.utils.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plain(value: Any) -> Any:
    """Turn arrays, tensors and non-finite numbers into what JSON can hold.

    Non-finite numbers become ``None``: JSON has no word for them, and a reader
    that meets ``NaN`` in a file usually refuses the whole file.
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return plain(value.detach().cpu().tolist())
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: str | Path, value: Any) -> Path:
    """Write ``value`` so that a reader sees the old file or the new one."""
    text = json.dumps(plain(value), indent=1, allow_nan=False) + '\n'
    with replacing(path) as temporary:
        temporary.write_text(text)
    return Path(path)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: The file is not JSON; names the file.
    """
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error


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

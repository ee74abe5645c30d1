"""Progress bars of long work."""

import os
from collections.abc import Iterable
from typing import Any


def track(items: Iterable, description: str, total: int | None = None) -> Any:
    """Iterate with a ``rich`` progress bar on the standard error of the first process.

    ``MMGCP_NO_PROGRESS=1`` turns it off.
    """
    from mmengine.dist import get_rank
    from rich import console, progress

    return progress.track(
        items,
        description,
        total,
        console=console.Console(stderr=True),
        disable=get_rank() != 0 or os.environ.get('MMGCP_NO_PROGRESS') == '1',
        transient=True,
    )

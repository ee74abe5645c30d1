"""Progress bars of long work."""

import os
from collections.abc import Iterable
from typing import Any


def track(items: Iterable, description: str, total: int | None = None) -> Any:
    """Iterate with a ``rich`` progress bar on the standard error of the first process.

    ``MMGCP_NO_PROGRESS=1`` turns it off.
    """
    from mmengine.dist import get_rank
    from rich.console import Console
    from rich.progress import Progress, TimeRemainingColumn

    bar = Progress(
        *Progress.get_default_columns()[:-1],
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=get_rank() != 0 or os.environ.get('MMGCP_NO_PROGRESS') == '1',
        transient=True,
    )
    with bar:
        yield from bar.track(items, total=total, description=description)

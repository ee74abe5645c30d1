"""Progress bars of long work, how far a log says it is, and how long it took."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_EPOCH = re.compile(r'Epoch\(train\)\s*\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]')
_COUNT = re.compile(r'(?:Iter\(train\)|(?:Epoch|Iter)\(test\))\s*\[\s*(\d+)/(\d+)\]')
_PERCENT = re.compile(r'\b(\d{1,3})\s?%')
_STAMP = re.compile(r'^[\d/]+ \d\d:\d\d:\d\d - (?:\w+ - [A-Z]+ - )?')
_ESCAPE = re.compile(r'\x1b\[[0-9;?]*[a-zA-Z]')
_TAIL = 16384


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


def last_lines(log: Path) -> list[str]:
    """The last lines of a log, without colors and empty ones."""
    if not log.is_file():
        return []
    with open(log, 'rb') as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode('utf-8', 'replace')
    lines = _ESCAPE.sub('', text).replace('\r', '\n').splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_progress(log: Path, epochs: int | None = None) -> tuple[float | None, str]:
    """Read the part done in [0, 1], if known, and the last line of a log.

    Args:
        log: What a command printed: mmengine's lines, or a bar with per cent. A line
            that begins with ``#`` says that it starts.
        epochs: Length of a training that counts epochs.
    """
    lines = last_lines(log)
    last = _STAMP.sub('', lines[-1]) if lines else ''
    if last.startswith('# '):
        last = 'starting'
    for line in reversed(lines):
        if epochs and (match := _EPOCH.search(line)):
            epoch, iteration, length = map(int, match.groups())
            return min(1.0, (epoch - 1 + iteration / length) / epochs), last
        if match := _COUNT.search(line):
            done, length = map(int, match.groups())
            return min(1.0, done / max(1, length)), last
        if match := _PERCENT.search(line):
            return min(1.0, int(match.group(1)) / 100), last
    return None, last


def format_seconds(seconds: float) -> str:
    """Seconds, minutes or hours, whichever are easy to read."""
    seconds = round(seconds)
    if seconds < 100:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    if minutes < 100:
        return f'{minutes} min {seconds:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'

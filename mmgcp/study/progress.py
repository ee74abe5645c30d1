"""How far the running steps are, how long the rest takes, and showing it."""

import re
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from .step import Step

_EPOCH = re.compile(r'Epoch\(train\)\s*\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]')
_COUNT = re.compile(r'(?:Iter\(train\)|(?:Epoch|Iter)\(test\))\s*\[\s*(\d+)/(\d+)\]')
_PERCENT = re.compile(r'\b(\d{1,3})\s?%')
_STAMP = re.compile(r'^[\d/]+ \d\d:\d\d:\d\d - (?:\w+ - [A-Z]+ - )?')
_ESCAPE = re.compile(r'\x1b\[[0-9;?]*[a-zA-Z]')
_TAIL = 16384
_HEARTBEAT = 30.0


def last_lines(log: Path) -> list[str]:
    """The last lines of a log, without colors and empty ones."""
    if not log.is_file():
        return []
    with open(log, 'rb') as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode('utf-8', 'replace')
    lines = _ESCAPE.sub('', text).replace('\r', '\n').splitlines()
    return [line.strip() for line in lines if line.strip()]


def read_progress(step: Step) -> tuple[float | None, str]:
    """Read the part done in [0, 1], if known, and the last line of a step's log."""
    lines = last_lines(step.log)
    last = _STAMP.sub('', lines[-1]) if lines else ''
    if last.startswith('# '):
        last = 'starting'
    epochs = step.meta.get('max_epochs')
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


class Display:
    """Shows the state of the steps: bars in a terminal, plain lines elsewhere.

    Args:
        steps: All steps of the study.
        jobs: Steps at a time.
        console: Where to print; standard output by default.
    """

    def __init__(
        self, steps: list[Step], jobs: int = 1, console: Console | None = None
    ) -> None:
        self.jobs = jobs
        # Names of logs must stay whole: somebody will copy them.
        self.console = console or Console(soft_wrap=True)
        detail = Column(no_wrap=True, overflow='ellipsis', ratio=1)
        # Refreshed by the caller's loop: no thread beside a process that forks.
        self.bars = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(bar_width=16),
            TextColumn('{task.fields[detail]}', markup=False, table_column=detail),
            console=self.console,
            auto_refresh=False,
            speed_estimate_period=600,
            expand=True,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.all = self.bars.add_task('study', total=len(steps), detail='')
        self.running: dict[str, tuple[Step, TaskID]] = {}
        self.waiting = {step.name: step for step in steps}
        self.took: dict[tuple, list[float]] = {}
        self.last_beat = time.monotonic()

    def __enter__(self) -> 'Display':
        self.bars.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bars.stop()

    def set(self, step: Step, state: str, detail: str, seconds: float = 0.0) -> None:
        """Say that a step is running, done, failed, skipped, or ready again."""
        self.waiting.pop(step.name, None)
        if step.name in self.running:
            self.bars.remove_task(self.running.pop(step.name)[1])
        if state == 'running':
            bar = self.bars.add_task(step.name, total=None, detail='')
            self.running[step.name] = step, bar
        elif state == 'ready':
            self.waiting[step.name] = step
        else:
            self.bars.advance(self.all)
        if state == 'done':
            self.took.setdefault(_group(step), []).append(seconds)
        counts = self.bars.tasks[0]
        text = f'[{counts.completed:.0f}/{counts.total:.0f}] {step.name}: {state}'
        self._print(f'{text} {detail}'.rstrip(), 'red' if state == 'failed' else None)

    def refresh(self) -> None:
        """Draw; outside a terminal one line every half minute."""
        if self.bars.disable and time.monotonic() - self.last_beat < _HEARTBEAT:
            return
        parts = []
        for name, (step, bar) in self.running.items():
            fraction, line = read_progress(step)
            total = None if fraction is None else 1.0
            self.bars.update(bar, total=total, completed=fraction, detail=line)
            parts.append(name if fraction is None else f'{name} {100 * fraction:.0f} %')
        left = f'about {format_seconds(self.left())} left'
        self.bars.update(self.all, detail=left)
        self.bars.refresh()
        if self.bars.disable:
            self.last_beat = time.monotonic()
            self._print(f'running: {", ".join(parts)}; {left}')

    def left(self) -> float:
        """Seconds until everything is done, if all jobs are busy until then."""
        running = []
        bars = {bar.id: bar for bar in self.bars.tasks}
        for step, bar in self.running.values():
            known = bars[bar].time_remaining
            guess = max(1.0, self.expect(step) - (bars[bar].elapsed or 0.0))
            running.append(guess if known is None else known)
        waiting = sum(self.expect(step) for step in self.waiting.values())
        return max([0.0, (sum(running) + waiting) / self.jobs, *running])

    def expect(self, step: Step) -> float:
        """Mean of what such steps took; before the first one, the plan's guess."""
        took = self.took.get(_group(step))
        return sum(took) / len(took) if took else step.expected_seconds

    def _print(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False)


def _group(step: Step) -> tuple:
    return step.kind, step.meta.get('group')


def format_seconds(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 100:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    if minutes < 100:
        return f'{minutes} min {seconds:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'

"""How far the running steps are, how long the rest takes, and showing it."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from mmgcp.utils.progress import format_seconds, read_progress

from .step import Step

_HEARTBEAT = 30.0


def plain_console(**options: Any) -> Console:
    """A console that prints text as it is; names of logs stay whole, to be copied."""
    return Console(soft_wrap=True, markup=False, highlight=False, **options)


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
        self.console = console or plain_console()
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
        self.took: dict[str, list[float]] = {}
        self.last_beat = time.monotonic()

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
            self.took.setdefault(step.group, []).append(seconds)
        counts = self.bars.tasks[0]
        text = f'[{counts.completed:.0f}/{counts.total:.0f}] {step.name}: {state}'
        style = 'red' if state == 'failed' else None
        self.console.print(f'{text} {detail}'.rstrip(), style=style)

    def refresh(self) -> None:
        """Draw; outside a terminal one line every half minute."""
        if self.bars.disable and time.monotonic() - self.last_beat < _HEARTBEAT:
            return
        parts = []
        for name, (step, bar) in self.running.items():
            fraction, line = read_progress(step.log, step.meta.get('max_epochs'))
            total = None if fraction is None else 1.0
            self.bars.update(bar, total=total, completed=fraction, detail=line)
            parts.append(name if fraction is None else f'{name} {100 * fraction:.0f} %')
        left = f'about {format_seconds(self.left())} left'
        self.bars.update(self.all, detail=left)
        self.bars.refresh()
        if self.bars.disable:
            self.last_beat = time.monotonic()
            self.console.print(f'running: {", ".join(parts)}; {left}')

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
        took = self.took.get(step.group)
        return sum(took) / len(took) if took else step.expected_seconds

"""Live view of a study in a terminal, plain lines everywhere else."""

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .progress import format_seconds
from .step import Step

_STYLE = {
    'done': 'green',
    'running': 'cyan',
    'failed': 'red',
    'skipped': 'yellow',
    'waiting': 'dim',
}
_HEARTBEAT = 30.0
_NAME_WIDTH = 44


class Display:
    """Shows the state of each step, its progress and the time left.

    Args:
        steps: All steps of the study.
        console: Where to print; standard output by default.
    """

    def __init__(self, steps: list[Step], console: Console | None = None) -> None:
        self.steps = steps
        # Names of logs must stay whole: somebody will copy them.
        self.console = console or Console(soft_wrap=True)
        self.state = {step.name: 'waiting' for step in steps}
        self.detail = {step.name: '' for step in steps}
        self.fraction: dict[str, float | None] = {}
        self.started = time.monotonic()
        self.last_beat = self.started
        self.live: Live | None = None

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            # Refreshed by the caller's loop: no thread beside a process that forks.
            self.live = Live(
                console=self.console, auto_refresh=False, vertical_overflow='visible'
            )
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None

    def set(self, name: str, state: str, detail: str = '') -> None:
        """Change a step's state; said once in a plain log."""
        self.state[name] = state
        self.detail[name] = detail
        if self.live is None or state == 'failed':
            count = sum(s in ('done', 'failed', 'skipped') for s in self.state.values())
            self.console.print(
                f'[{count}/{len(self.steps)}] {name}: {state} {detail}'.rstrip(),
                style='red' if state == 'failed' else None,
                markup=False,
                highlight=False,
            )

    def update(self, name: str, fraction: float | None, detail: str) -> None:
        """Change what is known of a running step."""
        self.fraction[name] = fraction
        self.detail[name] = detail

    def refresh(self, left: float) -> None:
        """Draw; in a plain log one line every half minute."""
        if self.live is not None:
            self.live.update(self._table(left), refresh=True)
        elif time.monotonic() - self.last_beat > _HEARTBEAT:
            self.last_beat = time.monotonic()
            running = [n for n, state in self.state.items() if state == 'running']
            parts = []
            for name in running:
                part = self.fraction.get(name)
                parts.append(name if part is None else f'{name} {100 * part:.0f} %')
            self.console.print(
                f'running: {", ".join(parts)}; about {format_seconds(left)} left',
                markup=False,
                highlight=False,
            )

    def _table(self, left: float) -> Group:
        table = Table(box=None, padding=(0, 1), expand=True, show_header=False)
        names = min(max(len(step.name) for step in self.steps), _NAME_WIDTH)
        table.add_column(no_wrap=True, width=names)
        table.add_column(no_wrap=True, width=8)
        table.add_column(no_wrap=True, width=16)
        table.add_column(no_wrap=True, overflow='ellipsis', ratio=1)
        room = max(4, self.console.height - 4)
        rank = {'running': 0, 'failed': 1, 'waiting': 2, 'skipped': 3, 'done': 4}
        chosen = self.steps
        if len(chosen) > room:
            chosen = sorted(chosen, key=lambda s: rank[self.state[s.name]])[:room]
            chosen = [step for step in self.steps if step in chosen]
        for step in chosen:
            state = self.state[step.name]
            style = _STYLE[state]
            part = self.fraction.get(step.name) if state == 'running' else None
            bar = '' if part is None else ProgressBar(1.0, part, width=16)
            table.add_row(
                Text(step.name, style=style),
                Text(state, style=style),
                bar,
                Text(self.detail[step.name], style='dim'),
            )
        counts = {
            state: sum(value == state for value in self.state.values())
            for state in ('done', 'running', 'waiting', 'failed', 'skipped')
        }
        text = ', '.join(f'{count} {state}' for state, count in counts.items() if count)
        took = format_seconds(time.monotonic() - self.started)
        summary = Text(f'{text}; {took} so far, about {format_seconds(left)} left')
        return Group(table, summary)

"""How far a running step is, and how long the rest of a study takes."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from .step import Step

_EPOCH = re.compile(r'Epoch\(train\)\s*\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]')
_ITER = re.compile(r'Iter\(train\)\s*\[\s*(\d+)/(\d+)\]')
_TEST = re.compile(r'(?:Epoch|Iter)\(test\)\s*\[\s*(\d+)/(\d+)\]')
_PERCENT = re.compile(r'\b(\d{1,3})\s?%')
_STAMP = re.compile(r'^[\d/]+ \d\d:\d\d:\d\d - (?:\w+ - [A-Z]+ - )?')
_ESCAPE = re.compile(r'\x1b\[[0-9;?]*[a-zA-Z]')
_TAIL = 16384


def tail(log: Path, size: int = _TAIL) -> str:
    """The end of a log without colours and carriage returns."""
    try:
        with open(log, 'rb') as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            text = file.read().decode('utf-8', 'replace')
    except OSError:
        return ''
    return _ESCAPE.sub('', text).replace('\r', '\n')


def read_progress(step: Step) -> tuple[float | None, str]:
    """Read a step's log.

    Returns:
        The part done in [0, 1], None when the log does not say it, and the last
        line without its time stamp.
    """
    lines = [line.strip() for line in tail(step.log).splitlines() if line.strip()]
    last = _STAMP.sub('', lines[-1]) if lines else ''
    if last.startswith('# '):
        last = 'starting'
    for line in reversed(lines):
        if match := _EPOCH.search(line):
            epoch, iteration, length = map(int, match.groups())
            epochs = step.meta.get('max_epochs')
            if epochs:
                return min(1.0, (epoch - 1 + iteration / length) / epochs), last
        elif match := _ITER.search(line) or _TEST.search(line):
            done, length = map(int, match.groups())
            return min(1.0, done / max(1, length)), last
        elif match := _PERCENT.search(line):
            return min(1.0, int(match.group(1)) / 100), last
    return None, last


@dataclass
class Clock:
    """What is known of a running step's pace."""

    started: float = field(default_factory=time.monotonic)
    first: tuple[float, float] | None = None
    fraction: float | None = None

    def update(self, fraction: float | None) -> None:
        self.fraction = fraction
        if fraction is not None and self.first is None:
            # A resumed training starts in the middle: its pace counts from there.
            self.first = (fraction, time.monotonic())

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def remaining(self, expected: float) -> float:
        """Seconds left, from the pace if there is one, else from ``expected``."""
        if self.first and self.fraction and self.fraction > self.first[0] + 0.02:
            pace = (time.monotonic() - self.first[1]) / (self.fraction - self.first[0])
            return pace * (1 - self.fraction)
        return max(1.0, expected - self.elapsed())


class Estimator:
    """Learns how long steps of one kind and group take."""

    def __init__(self) -> None:
        self.seconds: dict[tuple, list[float]] = {}
        self.measured = 0.0
        self.guessed = 0.0

    def learn(self, step: Step, seconds: float) -> None:
        self.seconds.setdefault(self._key(step), []).append(seconds)
        self.measured += seconds
        self.guessed += step.expected_seconds

    def expect(self, step: Step) -> float:
        """Mean of what such steps took; before the first one, the plan's guess
        times how wrong the guesses were for the steps that ran."""
        known = self.seconds.get(self._key(step))
        if known:
            return sum(known) / len(known)
        scale = self.measured / self.guessed if self.guessed else 1.0
        return step.expected_seconds * scale

    @staticmethod
    def _key(step: Step) -> tuple:
        return step.kind, step.meta.get('group')


def time_left(
    waiting: list[Step],
    running: dict[str, float],
    jobs: int,
    expect: dict[str, float],
) -> float:
    """Play the rest of the study: ``jobs`` at a time, each when it may start.

    Args:
        waiting: Steps to start yet, in the order of the plan.
        running: Seconds left of each running step.
        jobs: Steps at a time.
        expect: Expected seconds of each waiting step.
    """
    now = 0.0
    active = dict(running)
    left = [step for step in waiting if not step.exclusive]
    open_names = set(active) | {step.name for step in left}
    while left or active:
        for step in list(left):
            if len(active) >= jobs:
                break
            if not any(name in open_names for name in step.deps):
                active[step.name] = now + expect[step.name]
                left.remove(step)
        if not active:
            break
        name = min(active, key=lambda key: active[key])
        now = max(now, active.pop(name))
        open_names.discard(name)
    return now + sum(expect[step.name] for step in waiting if step.exclusive)


def format_seconds(seconds: float) -> str:
    seconds = round(seconds)
    if seconds < 100:
        return f'{seconds} s'
    minutes, seconds = divmod(seconds, 60)
    if minutes < 100:
        return f'{minutes} min {seconds:02d} s'
    return f'{minutes // 60} h {minutes % 60:02d} min'

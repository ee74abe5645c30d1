"""Print what a study would do, without doing it."""

import shlex
from typing import Any

from rich.console import Console

from .estimate import accelerator_hours
from .step import Step, hash_steps, order


def print_plan(
    study: dict[str, Any], steps: list[Step], missing: list[str], console: Console
) -> None:
    """Print the graph, every command, what is missing and what it may cost.

    Args:
        study: The study as selected.
        steps: Its plan.
        missing: Files the plan needs and this machine lacks.
        console: Where to print.
    """

    def say(text: str = '') -> None:
        console.print(text, markup=False, highlight=False)

    hashes = hash_steps(steps)
    done = {step.name for step in steps if step.is_done(hashes[step.name])}
    say(f'{study["title"]}: {len(steps)} steps, {len(done)} done before')
    for step in order(steps):
        after = f'  after {", ".join(step.deps)}' if step.deps else ''
        say()
        say(f'{step.name}  [{"done" if step.name in done else "to do"}]{after}')
        say(f'    {shlex.join(step.command)}')
        for path, text in step.files.items():
            say(f'    with {path}:')
            for line in text.splitlines():
                say(f'        {line}')
    say()
    if missing:
        say('Missing on this machine:')
        for note in missing:
            say(f'    {note}')
    else:
        say('Nothing is missing on this machine.')
    if study['assumptions']:
        say()
        for line in accelerator_hours(study, steps, done):
            say(line)

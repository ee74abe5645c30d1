"""The graph of a study for people and for other workflow engines."""

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console

from mmgcp.utils.files import write_json, write_text

from .resources import Resources
from .step import TRAININGS, Step, StudyError, hash_steps, launched

_SNAKEFILE = Path(__file__).with_name('templates') / 'Snakefile'


def print_plan(
    study: dict[str, Any], steps: list[Step], missing: list[str], console: Console
) -> None:
    """Print every step and command, what is missing and what it may cost."""
    say = console.print
    hashes = hash_steps(steps)
    done = {step.name for step in steps if step.is_done(hashes[step.name])}
    say(f'{study["title"]}: {len(steps)} steps, {len(done)} done before')
    for step in steps:
        after = f'  after {", ".join(step.deps)}' if step.deps else ''
        say(f'\n{step.name}  [{"done" if step.name in done else "to do"}]{after}')
        say(f'    {shlex.join(launched(step.command, step.processes))}')
        if step.kind in TRAININGS:
            say(f'    {step.meta["recipe"]}')
        for path, text in step.files.items():
            say(f'    with {path}:')
            for line in text.splitlines():
                say(f'        {line}')
    lacking = [f'Missing on this machine: {note}' for note in missing]
    say('\n' + '\n'.join(lacking or ['Nothing is missing on this machine.']))
    if study['assumptions']:
        say()
        for line in accelerator_hours(study, steps, done):
            say(line)


def write_graph(
    study: dict[str, Any], steps: list[Step], resources: Resources, file: Path
) -> None:
    """Write the graph as JSON and, beside it, a Snakefile that reads it."""
    if file.suffix != '.json':
        raise StudyError(f'--export-graph {file}: give the name of a .json file')
    resources.check(steps)
    results = {step.name: step.result for step in steps}
    content = [
        {
            'name': step.name,
            'kind': step.kind,
            'after': step.deps,
            'command': shlex.join(launched(step.command, step.processes)),
            'inputs': sorted({*step.inputs, *(results[name] for name in step.deps)}),
            'outputs': [path for path in (step.result, step.weights) if path],
            'log': step.log,
            'files': {str(path): text for path, text in step.files.items()},
            'resume_mark': step.resume_mark,
            'resources': resources.of(step),
        }
        for step in steps
    ]
    write_json(file, {'title': study['title'], 'steps': content})
    write_text(file.with_suffix('.smk'), _SNAKEFILE.read_text(encoding='utf-8'))


def accelerator_hours(
    study: dict[str, Any], steps: list[Step], done: set[str]
) -> list[str]:
    """Lines that estimate the hours of all trainings that are still to do.

    hours = images * epochs * multiply-adds * 2 * ``training_factor``
    / ``sustained_tflops``. The assumptions are in the study, and are printed.
    """
    assumed = study['assumptions']
    hours: dict[str, list[float]] = {}
    try:
        lines = [
            'Accelerator hours of the trainings to do, an estimate:',
            '  assumed: {device} sustains {sustained_tflops} TFLOP/s; a training step '
            'costs {training_factor} x the multiply-adds of inference; one multiply-add '
            'is 2 FLOPs; data loading keeps up; evaluation not counted'.format(
                **assumed
            ),
        ]
        for step in steps:
            if step.kind in TRAININGS and step.name not in done:
                task, meta = step.meta['task'], step.meta
                images = (meta['max_iters'] or 0) * meta['batch_size']
                images += (meta['max_epochs'] or 0) * assumed['train_images'][task]
                flops = 2e9 * assumed['gmacs'][task] * assumed['training_factor']
                rate = 3600e12 * assumed['sustained_tflops']
                hours.setdefault(task, []).append(images * flops / rate)
    except KeyError as error:
        raise StudyError(f'{study["file"]}: assumptions lack {error}') from error
    for task, each in hours.items():
        lines.append(
            f'  {task}: {len(each)} trainings x {each[0]:.1f} h = {sum(each):.0f} h '
            f'({assumed["gmacs"][task]} G multiply-adds per image)'
        )
    return [*lines, f'  together: {sum(map(sum, hours.values())):.0f} h']

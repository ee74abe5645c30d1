"""A study from its configuration file to its report."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mmgcp.analysis import tables
from mmgcp.engine.tracking import VARIABLE, check_tracker
from mmgcp.utils.device import usable_cpus, visible_devices
from mmgcp.utils.progress import format_seconds

from .config import load_study, select
from .derived_config import shown
from .graph import print_plan, write_graph
from .local import LocalBackend
from .plan import Planner
from .progress import Display, plain_console
from .pruning import prune
from .record import study_hash, write_record
from .report import write_report
from .resources import Resources
from .results import collect, seconds_of_a_seed
from .scheduler import Backend, Scheduler, only_study_in
from .slurm import SlurmBackend
from .step import Step, StudyError

#: More trainings at a time than this need more memory than a workstation has.
_MOST_JOBS = 4


def run_study(
    config: str,
    root: Path,
    cfg_options: dict | None = None,
    work_dir: str | None = None,
    jobs: int | None = None,
    dry_run: bool = False,
    report_only: bool = False,
    power: bool = False,
    record: str | None = None,
    slurm: list[str] | None = None,
    retries: int = 0,
    export_graph: str | None = None,
    keep: str | None = None,
    track: str | None = None,
    **selection: Any,
) -> int:
    """Plan a study, run what is not done and write its report; 1 when a step failed.

    The arguments are the options of ``tools/study.py``; ``root`` is the folder that
    holds ``tools`` and ``configs``.
    """
    study = select(load_study(config, cfg_options), **selection)
    if jobs is not None and jobs < 1:
        raise StudyError(f'--jobs {jobs}: at least one job is needed')
    folder = Path(shown(work_dir or study['work_dir']))
    if track is not None:
        # Not an option of each step: a finished one would be done again.
        os.environ[VARIABLE] = f'{check_tracker(track)}:{folder}'
    planner = Planner(study, folder, root)
    steps = planner.plan()
    study['hash'] = study_hash(study, steps, folder, root)
    resources = Resources(study['resources'], slurm or [])
    console = plain_console()
    if export_graph is not None:
        write_graph(study, steps, resources, Path(export_graph))
        return 0
    if dry_run:
        print_plan(study, steps, planner.missing, console)
        return 0
    if power:
        report, seconds = collect(study, steps), partial(seconds_of_a_seed, steps)
        rows = tables.power_rows(report['results'], report['study'], seconds)
        _table('Seeds for 80 % power', tables.POWER_HEAD, rows, console)
        return 0
    if record is not None:
        write_record(study, collect(study, steps), steps, folder, root, Path(record))
        return 0
    if report_only:
        with only_study_in(folder):
            return _finish(study, steps, planner.missing, folder, console, {})
    if planner.missing:
        listed = '\n'.join(f'  {note}' for note in planner.missing)
        raise StudyError(
            f'{study["file"]}: missing on this machine:\n{listed}\n'
            'Get them (docs/studies.md), or leave out what needs them with '
            '--encoders and --tasks'
        )
    backend: Backend
    if slurm is not None:
        backend = SlurmBackend(folder, Path.cwd(), resources, jobs or 1000)
    else:
        devices = visible_devices()
        room = min(_MOST_JOBS, usable_cpus())
        if devices:
            room = max(1, len(devices) // study['nproc'])
        backend = LocalBackend(jobs or room, Path.cwd(), devices=devices)
    with only_study_in(folder):
        display = Display(steps, backend.jobs, console)
        state = Scheduler(steps, backend, display, retries).run()
        status = _finish(study, steps, [], folder, console, state)
        if keep is not None and status == 0:
            console.print(f'{prune(steps, keep) / 1e6:.0f} MB of checkpoints removed')
        return status


def _finish(
    study: dict[str, Any],
    steps: list[Step],
    missing: list[str],
    folder: Path,
    console: Console,
    state: dict[str, str],
) -> int:
    """Write the report, print its tables, and name the steps that failed."""
    report = write_report(study, steps, folder, missing)
    design = report['study']
    for task, results in report['results'].items():
        for table in results.values():
            if table['encoders']:
                title = f'{design["tasks"][task]["label"]}: {table["label"]}'
                rows = tables.result_rows(table, design)
                _table(title, tables.RESULT_HEAD, rows, console)
            if table['comparisons']:
                rows = tables.comparison_rows(table, design)
                _table('', tables.COMPARISON_HEAD[:6], rows, console)
    for text in tables.sentences(report['results']):
        console.print(text)
    took = format_seconds(sum(step['seconds'] or 0.0 for step in report['steps']))
    page = folder / 'report.html'
    console.print(f'{took} of steps. Report: {page} (and report.md, report.json)')
    for step in steps:
        if state.get(step.name) == 'failed':
            console.print(f'failed: {step.name}; read {step.log}', style='red')
    skipped = [name for name, value in state.items() if value == 'skipped']
    if skipped:
        console.print(f'not run because of that: {", ".join(skipped)}')
    return 1 if 'failed' in state.values() else 0


def _table(title: str, head: list[str], rows: list[list[str]], to: Console) -> None:
    """Print a table with as many columns as ``head`` has."""
    table = Table(title=title or None, title_justify='left', box=None)
    for column in head:
        table.add_column(column, justify='right' if table.columns else 'left')
    for row in rows:
        table.add_row(*row[: len(head)])
    to.print(table)

"""A study from its configuration file to its report."""

import re
from pathlib import Path
from typing import Any

from rich.console import Console

from .backend import Backend
from .config import load_study, select
from .display import Display
from .dry_run import print_plan
from .local import LocalBackend, usable_cpus, visible_devices
from .lock import FolderLock
from .plan import Planner
from .progress import format_seconds
from .recipe import shown
from .report import write_report
from .scheduler import Scheduler
from .slurm import SlurmBackend
from .step import Step, StudyError

#: More trainings at a time than this need more memory than a workstation has.
_MOST_JOBS = 4
_SLURM_JOBS = 1000


def run_study(
    config: str,
    root: str | Path,
    work_dir: str | None = None,
    seeds: int | None = None,
    encoders: list[str] | None = None,
    tasks: list[str] | None = None,
    analyses: list[str] | None = None,
    jobs: int | None = None,
    nproc: int | None = None,
    dry_run: bool = False,
    report_only: bool = False,
    slurm: list[str] | None = None,
    cfg_options: dict | None = None,
) -> int:
    """Plan a study, run what is not done and write its report.

    Args:
        config: Study configuration.
        root: Folder that holds ``tools`` and ``configs``.
        work_dir: Folder of the study, instead of the configuration's.
        seeds: How many seeds.
        encoders: Only these encoders.
        tasks: Only these tasks.
        analyses: Analyses to run; ``['all']`` for every one.
        jobs: Steps at a time.
        nproc: Processes of each training and evaluation, through torchrun.
        dry_run: Print the graph and every command, run nothing.
        report_only: Write the report of what is done.
        slurm: ``key=value`` options of submitit; None runs on this machine.
        cfg_options: Changes of the configuration by dotted key.

    Returns:
        0, or 1 when a step failed.

    Raises:
        StudyError: Something is missing, or another study runs in the folder.
    """
    study = load_study(config, cfg_options)
    study = select(study, seeds, encoders, tasks, analyses, nproc)
    if jobs is not None and jobs < 1:
        raise StudyError(f'--jobs {jobs}: at least one job is needed')
    folder = Path(shown(work_dir or study['work_dir']))
    planner = Planner(study, folder, Path(root))
    steps = planner.plan()
    console = Console(soft_wrap=True)
    if dry_run:
        print_plan(study, steps, planner.missing, console)
        return 0
    if report_only:
        with FolderLock(folder):
            return _finish(study, steps, planner.missing, folder, console, None)
    if planner.missing:
        listed = '\n'.join(f'  {note}' for note in planner.missing)
        raise StudyError(
            f'{study["file"]}: missing on this machine:\n{listed}\n'
            'Get them (docs/studies.md), or leave out what needs them with '
            '--encoders and --tasks'
        )
    with FolderLock(folder) as lock:
        backend = _backend(study, folder, jobs, slurm, lock.descriptor)
        display = Display(steps, console)
        state = Scheduler(steps, folder, backend, display).run()
        return _finish(study, steps, [], folder, console, state)


def _backend(
    study: dict[str, Any],
    folder: Path,
    jobs: int | None,
    slurm: list[str] | None,
    lock: int | None,
) -> Backend:
    here = Path.cwd()
    if slurm is not None:
        wrong = [text for text in slurm if not re.match(r'\w+=.', text)]
        if wrong:
            raise StudyError(f'--slurm {wrong[0]}: expected key=value')
        options = dict(text.split('=', 1) for text in slurm)
        return SlurmBackend(folder / 'slurm', here, options, jobs or _SLURM_JOBS)
    devices = visible_devices()
    if jobs is None:
        room = len(devices) // study['nproc'] if devices else usable_cpus()
        jobs = max(1, min(_MOST_JOBS, room) if not devices else room)
    return LocalBackend(jobs, here, devices=devices, lock=lock)


def _finish(
    study: dict[str, Any],
    steps: list[Step],
    missing: list[str],
    folder: Path,
    console: Console,
    state: dict[str, str] | None,
) -> int:
    report = write_report(study, steps, folder, missing)
    _print_results(report, console)
    took = sum(step['seconds'] or 0.0 for step in report['steps'])
    console.print(
        f'{format_seconds(took)} of steps. Report: {folder / "report.html"} '
        '(and report.md, report.json)',
        markup=False,
        highlight=False,
    )
    if state is None:
        return 0
    failed = [step for step in steps if state[step.name] == 'failed']
    for step in failed:
        console.print(
            f'failed: {step.name}; read {step.log}', style='red', markup=False
        )
    skipped = [name for name, value in state.items() if value == 'skipped']
    if skipped:
        console.print(f'not run because of that: {", ".join(skipped)}', markup=False)
    return 1 if failed else 0


def _print_results(report: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    from .markdown import result_head, result_rows

    study = report['study']
    for task, tables in report['results'].items():
        for entry in tables.values():
            if not entry['encoders']:
                continue
            title = f'{study["tasks"][task]["label"]}: {entry["label"]}'
            table = Table(title=title, title_justify='left', box=None)
            # The verdict says in words what the interval says in numbers.
            shown_columns = [0, 1, 2, 3, 4]
            head = result_head(study)
            for index in shown_columns:
                table.add_column(head[index], justify='right' if index else 'left')
            for row in result_rows(entry, study):
                table.add_row(*(row[index] for index in shown_columns))
            console.print(table)

"""Write a study's report: JSON, Markdown, PNG and one page of HTML."""

import shutil
from pathlib import Path
from typing import Any

from mmgcp.utils.files import replacing, write_text

from .collect import collect
from .figures import draw_figures
from .html import render_page
from .markdown import render_markdown
from .step import Step, write_json


def write_report(
    study: dict[str, Any],
    steps: list[Step],
    folder: Path,
    missing: list[str] | None = None,
) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/``.

    Steps that are not done are named in it, and give no numbers.

    Args:
        study: The study as selected.
        steps: Its plan.
        folder: Folder of the study.
        missing: Files the plan needs and this machine lacks.

    Returns:
        The content of ``report.json``.
    """
    report = collect(study, steps)
    report['missing'] = missing or []
    report['figures'] = draw_figures(report, folder)
    for task, pictures in report['pictures'].items():
        source = folder / 'steps' / 'pictures' / task
        for sample in pictures['samples']:
            sample['truth'] = _copy(source / sample['truth'], folder, task)
            sample['predictions'] = {
                name: _copy(source / file, folder, task)
                for name, file in sample['predictions'].items()
            }
    for analysis in report['analyses']:
        if analysis['picture']:
            file = Path(analysis['picture'])
            name = f'analysis-{analysis["name"]}-{analysis["task"]}.png'
            analysis['picture'] = _copy(file, folder, '', name)
    write_json(folder / 'report.json', report)
    write_text(folder / 'report.md', render_markdown(report))
    write_text(folder / 'report.html', render_page(report, folder))
    return report


def _copy(source: Path, folder: Path, task: str, name: str | None = None) -> str:
    """Put a picture beside the report, so that the folder can be handed on."""
    target = Path('figures') / task / (name or source.name)
    with replacing(folder / target) as part:
        shutil.copyfile(source, part)
    return str(target)

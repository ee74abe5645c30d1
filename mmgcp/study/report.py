"""Write a study's report: JSON, figures, and the same tables as Markdown and HTML."""

import base64
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgcp.analysis import convergence, costs, tables, transferability
from mmgcp.analysis.output import save_figure
from mmgcp.utils.files import replacing, write_json, write_text
from mmgcp.utils.progress import format_seconds

from .results import collect
from .step import Step

_TEMPLATES = Path(__file__).with_name('templates')


def write_report(
    study: dict[str, Any], steps: list[Step], folder: Path, missing: Sequence[str] = ()
) -> dict[str, Any]:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/``.

    Steps that are not done, and what is ``missing`` on this machine, are named in it.

    Returns:
        The content of ``report.json``.
    """
    report = collect(study, steps)
    report['missing'] = list(missing)
    report['figures'] = {
        task: _draw_figures(report, task, folder) for task in report['study']['tasks']
    }
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
            name = f'analysis-{analysis["name"]}-{analysis["task"]}.png'
            analysis['picture'] = _copy(Path(analysis['picture']), folder, '', name)
    write_json(folder / 'report.json', report)
    for name in ('report.md', 'report.html'):
        write_text(folder / name, render(report, folder, name))
    return report


def _copy(source: Path, folder: Path, task: str, name: str | None = None) -> str:
    """Put a picture beside the report, so that the folder can be handed on."""
    target = Path('figures') / task / (name or source.name)
    with replacing(folder / target) as part:
        shutil.copyfile(source, part)
    return str(target)


def _draw_figures(report: dict[str, Any], task: str, folder: Path) -> dict[str, str]:
    """Draw tables and curves of a task; returns titles by path below ``folder``."""
    drawn, design = {}, report['study']
    label, results = design['tasks'][task]['label'], report['results'][task]
    measured = [table for table in results.values() if table['encoders']]
    if measured:
        name = f'figures/{task}-results.png'
        save_figure(tables.draw(measured, design), folder / name)
        drawn[name] = f'{label}: test data'
    # The metrics of the tables, on the validation data, and the loss.
    curves = report['curves'][task]
    panels = {t['label']: curves[key] for key, t in results.items() if key in curves}
    if convergence.TRAINING_LOSS in curves:
        panels[convergence.TRAINING_LOSS] = curves[convergence.TRAINING_LOSS]
    if panels:
        name = f'figures/{task}-curves.png'
        drawing = convergence.draw_seeds(panels, design['encoders'])
        save_figure(drawing, folder / name)
        drawn[name] = f'{label}: while training, on the validation data'
    return drawn


def render(report: dict[str, Any], folder: Path, name: str) -> str:
    """Fill the template ``report.md`` or ``report.html``; the page holds its pictures."""
    return fill(
        name,
        report=report,
        study=report['study'],
        sentences=tables.sentences(report['results']),
        costs=costs,
        transferability=transferability,
        seconds=format_seconds,
        image=lambda file: _data_uri('image/png', (folder / file).read_bytes()),
        json_uri=lambda content: _data_uri(
            'application/json', json.dumps(content).encode()
        ),
    )


def fill(name: str, **content: Any) -> str:
    """Fill one of the templates, all of which know the tables of results."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=name.endswith('.html'),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(tables=tables, **content)


def _data_uri(kind: str, content: bytes) -> str:
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'

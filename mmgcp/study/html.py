"""The report as one self-contained page."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from .figures import mean_curve, shown_curves
from .markdown import (
    COST_HEAD,
    cost_note,
    cost_rows,
    data_faults,
    result_head,
    result_rows,
)
from .progress import format_seconds

TEMPLATE = Path(__file__).with_name('templates') / 'report.html'
_COLOURS = [
    '#1f77b4',
    '#ff7f0e',
    '#2ca02c',
    '#d62728',
    '#9467bd',
    '#8c564b',
    '#e377c2',
    '#7f7f7f',
    '#bcbd22',
    '#17becf',
]


def render_page(report: dict[str, Any], folder: Path) -> str:
    """Render the page; pictures and scripts are inside it.

    Args:
        report: Content of ``report.json``.
        folder: Where the pictures it names are.
    """
    import jinja2
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    template = environment.from_string(TEMPLATE.read_text(encoding='utf-8'))
    return template.render(
        report=report,
        study=report['study'],
        tasks=[_task(report, task) for task in report['study']['tasks']],
        open_steps=[step for step in report['steps'] if step['state'] != 'done'],
        image=lambda name: _data_uri(folder / name),
        json_uri=_json_uri,
        seconds=format_seconds,
        data_faults=data_faults(report),
        cost_head=COST_HEAD,
        result_head=result_head(report['study']),
        plotly=get_plotlyjs(),
    )


def _task(report: dict, task: str) -> dict[str, Any]:
    study = report['study']
    pictures = report['pictures'].get(task)
    return {
        'name': task,
        'label': study['tasks'][task]['label'],
        'configs': study['tasks'][task]['config'],
        'tables': [
            {'label': table['label'], 'rows': result_rows(table, study)}
            for table in report['results'][task].values()
        ],
        'charts': _charts(report, task),
        'costs': cost_rows(report, task),
        'cost_note': cost_note(report, task),
        'pictures': pictures,
        'names': list(pictures['models']) if pictures else [],
    }


def _charts(report: dict, task: str) -> list[tuple[str, str]]:
    """Curves as plotly figures in HTML, with their titles."""
    from plotly import graph_objects

    study = report['study']
    charts: list[tuple[str, str]] = []
    for title, encoders in shown_curves(report, task).items():
        chart = graph_objects.Figure()
        for name, seeds in encoders.items():
            colour = _COLOURS[list(study['encoders']).index(name) % len(_COLOURS)]
            label = study['encoders'][name]
            if len(seeds) > 1:
                for seed, points in seeds.items():
                    x, y = zip(*points, strict=True)
                    chart.add_scatter(
                        x=x,
                        y=y,
                        mode='lines',
                        name=f'{label}, seed {seed}',
                        legendgroup=label,
                        showlegend=False,
                        opacity=0.3,
                        line={'color': colour, 'width': 1},
                    )
            steps, means = mean_curve(seeds)
            chart.add_scatter(
                x=steps,
                y=means,
                mode='lines+markers',
                name=label,
                legendgroup=label,
                line={'color': colour},
            )
        chart.update_layout(
            template='plotly_white',
            height=320,
            margin={'l': 50, 'r': 24, 't': 34, 'b': 40},
            legend={'orientation': 'h'},
        )
        body = chart.to_html(
            full_html=False,
            include_plotlyjs=False,
            config={'responsive': True, 'displaylogo': False},
        )
        charts.append((title, body))
    return charts


@cache
def _encoded(path: Path, changed: int) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _data_uri(path: Path) -> str:
    return f'data:image/png;base64,{_encoded(path, path.stat().st_mtime_ns)}'


def _json_uri(content: Any) -> str:
    text = json.dumps(content).encode()
    return f'data:application/json;base64,{base64.b64encode(text).decode()}'

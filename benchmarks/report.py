"""Show, save and draw what was measured."""

import json
import os
import platform
from pathlib import Path

import torch

from mmgcp.utils.files import replacing, write_text


def machine(device: str = 'cpu') -> dict:
    """Processor, threads and versions: without them no time means anything."""
    import importlib.metadata as metadata

    from mmgcp import __version__

    processor = platform.processor() or platform.machine()
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        models = [s for s in cpuinfo.read_text().splitlines() if 'model name' in s]
        processor = models[0].split(':', 1)[1].strip() if models else processor
    info = {
        'processor': processor,
        'cores': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'wait_policy': os.environ.get('OMP_WAIT_POLICY', 'unset'),
        'load': list(os.getloadavg()),
        'cpu_capability': torch.backends.cpu.get_cpu_capability(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'mmgcp': __version__,
    }
    for name in ('mmengine', 'mmcv', 'mmdet', 'mmsegmentation', 'mmpretrain'):
        short = name.removeprefix('mm')
        onedl = {'det': 'mmdetection'}.get(short, name)
        for distribution in (f'onedl-{onedl}', name):
            try:
                info[distribution] = metadata.version(distribution)
                break
            except metadata.PackageNotFoundError:
                continue
    if device == 'cuda':
        info['gpu'] = torch.cuda.get_device_name()
        info['cuda'] = torch.version.cuda
        info['tf32'] = torch.backends.cuda.matmul.allow_tf32
    return info


def _cells(row: dict) -> list[str]:
    low, high = row['ratio_quartiles']
    goals = row['targets']
    cells = [
        row['name'],
        f'{row["milliseconds"]:.2f}',
        f'{row["ratio"]:.{4 if row["ratio"] < 0.1 else 3}f}',
        f'{low:.3f}-{high:.3f}',
        _goal(row['ratio'], goals.get('time')),
    ]
    if 'peak_mib' in row:
        ratio = row['peak_ratio']
        cells += [
            f'{row["peak_mib"]:.1f}',
            '' if ratio is None else f'{ratio:.2f}',
            _goal(ratio, goals.get('peak')),
        ]
    if 'images_per_second' in row:
        cells.append(f'{row["images_per_second"]:.1f}')
    cells += [f'{share:.0%}' for share in row.get('shares', {}).values()]
    return cells


def _goal(value: float | None, goal: float | None) -> str:
    if goal is None or value is None:
        return ''
    return f'<= {goal:g} {"met" if value <= goal else "MISSED"}'


def table(rows: list[dict]) -> str:
    """Rows of one group as an aligned table."""
    head = ['variant', 'ms', 'ratio', 'quartiles', 'goal']
    if any('peak_mib' in r for r in rows):
        head += ['peak MiB', 'ratio', 'goal']
    if any('images_per_second' in r for r in rows):
        head.append('images/s')
    head += rows[0].get('shares', {})
    lines = [head, *(_cells(r) for r in rows)]
    lines = [line + [''] * (len(head) - len(line)) for line in lines]
    # A column of goals that nothing has would only take space.
    used = [k for k in range(len(head)) if any(line[k] for line in lines[1:])]
    widths = {k: max(len(line[k]) for line in lines) for k in used}
    text = []
    for line in lines:
        cells = [
            line[k].ljust(widths[k]) if k == 0 else line[k].rjust(widths[k])
            for k in used
        ]
        text.append('  '.join(cells).rstrip())
    text.insert(1, '-' * max(map(len, text)))
    return '\n'.join(text)


def save_json(path: str, report: dict) -> None:
    """Write the report, whole or not at all."""
    write_text(path, json.dumps(report, indent=1) + '\n')


def save_plot(path: str, report: dict) -> None:
    """Draw the ratios with their quartiles, one panel per group."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    groups = report['groups']
    heights = [len(g['rows']) for g in groups]
    figure, axes = plt.subplots(
        len(groups),
        1,
        figsize=(8, 0.35 * sum(heights) + 1.0 * len(groups)),
        squeeze=False,
        gridspec_kw={'height_ratios': heights},
        layout='constrained',
    )
    for axis, group in zip(axes[:, 0], groups, strict=True):
        rows = group['rows'][::-1]
        ratios = [r['ratio'] for r in rows]
        low = [r['ratio'] - r['ratio_quartiles'][0] for r in rows]
        high = [r['ratio_quartiles'][1] - r['ratio'] for r in rows]
        axis.barh(range(len(rows)), ratios, xerr=[low, high], color='#4878a8')
        for place, row in enumerate(rows):
            if row['targets'].get('time'):
                goal = row['targets']['time']
                axis.plot([goal] * 2, [place - 0.45, place + 0.45], color='#c44e52')
        axis.set_yticks(range(len(rows)), [r['name'] for r in rows])
        axis.set_title(group['title'], fontsize=10)
        axis.axvline(1, color='0.5', linewidth=0.8)
        axis.set_xlabel('time / time of the baseline (bars: median, quartiles)')
    with replacing(path) as part:
        figure.savefig(part, dpi=120)
    plt.close(figure)

"""What was measured, as a table, and on which machine."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from mmgcp import __version__
from mmgcp.utils.stack import providers


def machine(device: str = 'cpu') -> dict:
    """Processor, threads and versions: without them no time means anything."""
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
        'load': [round(load, 1) for load in os.getloadavg()],
        'cpu_capability': torch.backends.cpu.get_cpu_capability(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'mmgcp': __version__,
        **{found.distribution: found.version for found in providers()},
    }
    if device == 'cuda':
        info['gpu'] = torch.cuda.get_device_name()
        info['cuda'] = torch.version.cuda
        info['state'] = gpu_state()
    return info


def gpu_state() -> str:
    """Clocks, temperature and power of the GPU, which its speed depends on."""
    query = '--query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw'
    command = ['nvidia-smi', query, '--format=csv,noheader']
    if not shutil.which('nvidia-smi'):
        return 'no nvidia-smi'
    done = subprocess.run(command, capture_output=True, text=True)
    core, memory, degrees, power = done.stdout.splitlines()[0].split(', ')
    return f'{core}, memory {memory}, {degrees} degrees, {power}'


def _cells(row: dict) -> dict[str, str]:
    low, high = row['ratio_quartiles']
    cells = {
        'variant': row['name'],
        'ms': f'{row["milliseconds"]:.2f}',
        'ratio': f'{row["ratio"]:.{4 if row["ratio"] < 0.1 else 3}f}',
        'quartiles': f'{low:.3f}-{high:.3f}',
    }
    if 'peak_mib' in row:
        ratio = row['peak_ratio']
        cells['peak MiB'] = f'{row["peak_mib"]:.1f}'
        cells['peak ratio'] = '' if ratio is None else f'{ratio:.2f}'
    if 'over_floor' in row:
        cells['GFLOP'] = f'{row["gflop"]:.2f}'
        cells['MB'] = f'{row["mbyte"]:.0f}'
        cells['kernels'] = str(row['kernels'])
        cells['x floor'] = f'{row["over_floor"]:.1f}'
    if 'images_per_second' in row:
        cells['images/s'] = f'{row["images_per_second"]:.1f}'
    return cells


def table(rows: list[dict]) -> str:
    """Rows of one group as an aligned table."""
    cells = [_cells(row) for row in rows]
    head = list(dict.fromkeys(name for row in cells for name in row))
    lines = [head, *([row.get(name, '') for name in head] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        '  '.join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return '\n'.join([text[0], '-' * max(map(len, text)), *text[1:]])

#!/usr/bin/env python
"""Check this package on a GPU: set-up, tests, benchmarks, a short study, a report.

Writes gpu-report.json and gpu-report.md. A check that passed is not run again, so the
same command goes on where it stopped. ``--only layers`` needs torch and pytest alone.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # before the package is installed

from mmgcp.utils.cli import ArgumentParser, run_main  # noqa: E402
from mmgcp.utils.errors import UserError  # noqa: E402
from mmgcp.utils.files import write_json, write_text  # noqa: E402

PARTS = ('setup', 'layers', 'tests', 'benchmarks', 'study')
PAGE = ROOT / 'docs/performance.md'
PLACE = re.compile(r'(<!-- gpu-report -->\n).*(<!-- end of gpu-report -->)', re.S)
# Run by the interpreter that runs the checks: this one need not have torch.
PROBE = """
import importlib.util, json, platform, torch
gpu = torch.cuda.is_available()
found = dict(python=platform.python_version(), torch=torch.__version__)
found.update(cuda=torch.version.cuda, gpus=torch.cuda.device_count() if gpu else 0)
found['whole_stack'] = all(map(importlib.util.find_spec, ('mmcv', 'mmdet', 'mmseg')))
if gpu:
    about = torch.cuda.get_device_properties(0)
    found.update(gpu=about.name, memory_gib=round(about.total_memory / 2**30, 1))
    found['capability'] = [about.major, about.minor]
    found['built_for'] = torch.cuda.get_arch_list()
print(json.dumps(found))
"""
#: What the output of a check says, and what that means.
KNOWN = {
    r'no kernel image is available': 'torch or mmcv is not built for this GPU. Install '
    'a torch that is, and build mmcv anew (empty the folder of MMGCP_CACHE)',
    r'out of memory': 'the memory of the GPU is used up. End what else runs on it, or '
    'take a GPU with at least 16 GiB',
    r'no nvcc|nvcc.* not found|CUDA_HOME.* not set': 'there is no CUDA compiler (nvcc). '
    'Install the CUDA toolkit of the version that torch was built with',
    r'Python\.h|c\+\+ cannot be found|C\+\+ compiler': 'there is no C++ compiler. '
    'Install it (Debian and Ubuntu: build-essential and python3-dev)',
}


class GpuCheckError(UserError):
    """The checks cannot start."""


@dataclass
class Check:
    """One command and its verdict."""

    part: str
    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def checks(python: str, device: str, folder: Path) -> list[Check]:
    """All checks, in their order."""
    gpu = device == 'cuda'
    rounds = ['--rounds', '50' if gpu else '1', '--warmup', '10' if gpu else '0']

    def tests(part: str, name: str, *paths: str) -> Check:
        xml = f'--junitxml={folder / name}.xml'
        words = ['-m', 'pytest', '-q', '--device', device, xml, *paths]
        return Check(part, name, [python, *words])

    def benchmark(kind: str, *options: str) -> Check:
        out = ['--device', device, '--json', str(folder / f'{kind}.json')]
        words = ['-m', 'benchmarks', kind, *options, *rounds, *out]
        return Check('benchmarks', kind, [python, *words])

    def study(name: str, **environment: str) -> Check:
        words = (
            'tools/study.py configs/studies/scenes.py --seeds 1 --encoders gap isqrt'
        )
        where = ['--tasks', 'segmentation', '--work-dir', str(folder / name)]
        return Check('study', name, [python, *words.split(), *where], environment)

    set_up = [sys.executable, 'tools/setup_env.py']
    ways = ['--precision', 'fp32', 'tf32', 'bf16', '--compile', '--graph']
    batch = ['--batch', '64' if gpu else '2', '--also', 'channels_last']
    return [
        Check('setup', 'environment', set_up, {'FORCE_CUDA': '1'} if gpu else {}),
        tests('layers', 'heads', 'tests/layers', 'tests/gpu/test_heads.py'),
        tests('tests', 'models', 'tests/models', 'tests/weights'),
        tests('tests', 'training', 'tests/gpu/test_training.py', 'tests/engine'),
        tests('tests', 'configs', 'tests/configs/test_every_config.py'),
        benchmark('pooling', '--roofline', *(ways if gpu else [])),
        benchmark('encoders', *batch),
        benchmark('pretrain-step'),
        benchmark('transfer-step'),
        benchmark('throughput'),
        *([study('study-gpu')] if gpu else []),
        study('study-cpu', CUDA_VISIBLE_DEVICES=''),
    ]


def probe(python: str) -> dict:
    """What the interpreter has and sees.

    Raises:
        GpuCheckError: It has no torch.
    """
    command = [python, '-c', PROBE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise GpuCheckError(
            f'{python}: {last_line(done.stderr)}. Install torch and pytest, name another '
            'interpreter with --python, or add the part setup'
        )
    found = json.loads(done.stdout.splitlines()[-1])
    version = ['git', 'describe', '--always', '--dirty']
    done = subprocess.run(version, capture_output=True, text=True, cwd=ROOT)
    found['commit'] = done.stdout.strip() or 'no checkout of git'
    if shutil.which('nvidia-smi'):
        query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
        done = subprocess.run(query, capture_output=True, text=True)
        found['driver'] = last_line(done.stdout)
    return found


def refuse(found: dict, device: str) -> None:
    """Raise GpuCheckError if nothing can run on this device."""
    if device == 'cpu':
        return
    if not found['gpus']:
        raise GpuCheckError(
            f'torch {found["torch"]} sees no GPU on this machine. Check the driver with '
            'nvidia-smi, or use --device cpu'
        )
    major, minor = found['capability']
    built = [re.fullmatch(r'(sm|compute)_(\d+)(\d)a?', n) for n in found['built_for']]
    versions = [(m[1], int(m[2]), int(m[3])) for m in built if m]
    if not any(
        (a == major and b <= minor) if kind == 'sm' else (a, b) <= (major, minor)
        for kind, a, b in versions
    ):
        raise GpuCheckError(
            f'torch {found["torch"]} has no kernels for {found["gpu"]} (sm_{major}'
            f'{minor}), only for {", ".join(found["built_for"])}. Install another build'
        )
    if found['memory_gib'] < 8:
        raise GpuCheckError(
            f'{found["gpu"]} has {found["memory_gib"]} GiB of memory; the checks need 8'
        )


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'it printed nothing'


def explain(output: str) -> str:
    """One line about the output of a command that failed."""
    return known_cause(output) or last_line(output)


def known_cause(output: str) -> str | None:
    known = (text for pattern, text in KNOWN.items() if re.search(pattern, output))
    return next(known, None)


def counts(xml: str) -> str:
    """Numbers of a JUnit report, with reasons of skipped and failed tests."""
    cases = list(ElementTree.fromstring(xml).iter('testcase'))
    bad = [c for c in cases if {'failure', 'error'} & {child.tag for child in c}]
    skips = Counter(node.get('message') for c in cases for node in c.iter('skipped'))
    text = f'{len(cases) - len(bad) - skips.total()} passed'
    if bad:
        names = ', '.join(str(case.get('name')) for case in bad[:3])
        text += f', {len(bad)} failed ({names}{", ..." * (len(bad) > 3)})'
        cause = known_cause(xml)
        text += f': {cause}' if cause else ''
    if skips:
        reasons = '; '.join(f'{number} {why}' for why, number in skips.most_common())
        text += f', {skips.total()} skipped ({reasons})'
    return text


def run(check: Check, folder: Path, seconds: float) -> dict:
    """Run one check and say how it went; its output goes into a log."""
    log, xml = folder / f'{check.name}.log', folder / f'{check.name}.xml'
    xml.unlink(missing_ok=True)
    variables = {**os.environ, 'PYTHONPATH': str(ROOT), **check.environment}
    start, late = time.monotonic(), False
    # A group of its own, so that what a check has started ends with it.
    options = dict(cwd=ROOT, env=variables, stderr=subprocess.STDOUT)
    with (
        log.open('w') as file,
        subprocess.Popen(
            check.command, stdout=file, start_new_session=True, **options
        ) as process,
    ):
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
    status = process.returncode
    if late:
        verdict, detail = 'skipped', 'the time was used up: run the command again'
    elif status == 0 or xml.exists():
        verdict = 'passed' if status == 0 else 'failed'
        detail = counts(xml.read_text()) if xml.exists() else f'see {log.name}'
    else:
        verdict, detail = 'failed', explain(log.read_text(errors='replace'))
    return row_of(check, verdict, detail, round(time.monotonic() - start, 1))


def row_of(check: Check, verdict: str, detail: str, seconds: float = 0) -> dict:
    row = {'part': check.part, 'name': check.name, 'verdict': verdict}
    row |= {'seconds': seconds, 'detail': detail}
    return row | {'command': shlex.join(check.command)}


def markdown(report: dict, folder: Path) -> str:
    """The report as a page: machine, verdicts, the tables of the benchmarks."""
    shown = {k: v for k, v in report['machine'].items() if k != 'built_for'}
    lines = [f'* {name}: {value}' for name, value in shown.items()]
    lines += ['', '| part | check | verdict | seconds | |', '|---|---|---|---|---|']
    for row in report['checks']:
        cells = ('part', 'name', 'verdict', 'seconds', 'detail')
        lines.append(f'| {" | ".join(str(row[cell]) for cell in cells)} |')
    for row in report['checks']:
        log = folder / f'{row["name"]}.log'
        if row['part'] == 'benchmarks' and row['verdict'] == 'passed' and log.exists():
            text = re.sub(r'(?m)^.*\r', '', log.read_text()).strip()
            lines += ['', f'    {row["command"]}', '', f'```text\n{text}\n```']
    return '\n'.join(lines) + '\n'


def read_report(path: Path, report: dict) -> list[dict]:
    """The checks of an earlier report of the same device and versions."""
    if not path.exists():
        return []
    before = json.loads(path.read_text())
    same = all(before[key] == report[key] for key in ('device', 'machine'))
    return before['checks'] if same else []


def publish(report: dict, text: str) -> None:
    """Put the report into its place in docs/performance.md.

    Raises:
        GpuCheckError: It is of a CPU.
    """
    if report['device'] != 'cuda':
        raise GpuCheckError('--publish: only the report of a GPU belongs into the page')
    page = PLACE.sub(lambda m: f'{m[1]}{text}{m[2]}', PAGE.read_text())
    write_text(PAGE, page)


def main(argv: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--only', nargs='+', choices=PARTS, help='only these parts')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda')
    parser.add_argument('--work-dir', default='work_dirs/gpu-check', help='its folder')
    parser.add_argument('--minutes', type=float, default=25, help='of all after set-up')
    parser.add_argument('--again', action='store_true', help='repeat what passed')
    parser.add_argument('--python', help='interpreter that runs the checks')
    parser.add_argument(
        '--publish', action='store_true', help='put the report into docs/performance.md'
    )
    options = parser.parse_args(argv)
    parts, folder = options.only or PARTS, Path(options.work_dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    made = ROOT / '.venv/bin/python'  # by the part setup
    given = options.python or (str(made) if 'setup' in parts else sys.executable)
    known = checks(given, options.device, folder)
    order = [check.name for check in known]
    wanted = [check for check in known if check.part in parts]
    path = folder / 'gpu-report.json'
    fresh = []
    if wanted[0].part == 'setup':
        fresh = [run(wanted[0], folder, 3600)]
        if fresh[0]['verdict'] == 'failed':
            raise GpuCheckError(f'set-up failed: {fresh[0]["detail"]}')
    machine = probe(given)
    refuse(machine, options.device)
    report = {'device': options.device, 'machine': machine, 'checks': []}
    done = {row['name']: row for row in [*read_report(path, report), *fresh]}
    end = time.monotonic() + 60 * options.minutes
    for check in wanted:
        left = end - time.monotonic()
        row = done.get(check.name, {})
        if row.get('verdict') != 'passed' or (options.again and row not in fresh):
            if check.part != 'layers' and not machine['whole_stack']:
                why = f'{given} has no mmcv, mmdet and mmseg: add setup'
                row = row_of(check, 'skipped', why)
            elif left <= 0:
                why = f'the {options.minutes:g} minutes were used up'
                row = row_of(check, 'skipped', why)
            else:
                row = run(check, folder, left)
        tell(row)
        done[check.name] = row
        report['checks'] = [done[name] for name in order if name in done]
        write_json(path, report)
        write_text(path.with_suffix('.md'), markdown(report, folder))
    print(f'report: {path.with_suffix(".md")}')
    if options.publish:
        publish(report, markdown(report, folder))
    return int(any(done[check.name]['verdict'] == 'failed' for check in wanted))


def tell(row: dict) -> None:
    text = f'{row["verdict"]:8}{row["part"]}/{row["name"]}: {row["detail"]}'
    print(text, flush=True)


if __name__ == '__main__':
    run_main(main, on_interrupt='Go on with')

"""The check of a GPU without one: what it refuses, resumes, times out and writes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once
SCRIPT = Path(__file__).parents[2] / 'tools/gpu_check.py'
# The form of what the tool finds out; the values are made up.
H100 = dict(
    torch='2.10.0+cu128',
    gpus=1,
    gpu='NVIDIA H100 80GB HBM3',
    memory_gib=79.1,
    capability=[9, 0],
    built_for=['sm_70', 'sm_80', 'sm_90', 'compute_90'],
    whole_stack=True,
)
XML = """<testsuites><testsuite>
<testcase name="test_a" time="1.0" />
<testcase name="test_b"><skipped type="pytest.skip" message="needs 2 GPUs" /></testcase>
<testcase name="test_c"><failure message="m">CUDA out of memory. Tried</failure>
</testcase></testsuite></testsuites>"""


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location('gpu_check', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'gpu_check', module)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(gpus=0), 'sees no GPU on this machine'),
        (dict(capability=[6, 1]), r'no kernels for NVIDIA H100 80GB HBM3 \(sm_61\)'),
        (dict(built_for=['sm_100', 'compute_100']), 'only for sm_100, compute_100'),
        (dict(memory_gib=6.0), 'has 6.0 GiB of memory'),
    ],
)
def test_what_cannot_run_is_one_line(tool, changes, message):
    with pytest.raises(tool.GpuCheckError, match=message) as info:
        tool.refuse({**H100, **changes}, 'cuda')
    assert '\n' not in str(info.value)
    tool.refuse({**H100, **changes}, 'cpu')


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(capability=[8, 6]),  # the binaries of 8.0 run on 8.6
        dict(capability=[12, 0]),  # compiled from those of compute_90 when loaded
    ],
)
def test_gpus_that_run_the_kernels_of_torch(tool, changes):
    tool.refuse({**H100, **changes}, 'cuda')


@pytest.mark.parametrize(
    ('output', 'meaning'),
    [
        ('CUDA error: no kernel image is available for execution', 'not built for'),
        ('torch.OutOfMemoryError: CUDA out of memory. Tried to', 'is used up'),
        ('[setup] torch sees a GPU, but there is no nvcc on PATH', 'no CUDA compiler'),
        ('CUDA_HOME environment variable is not set', 'no CUDA compiler'),
        ("[setup] c++ cannot be found. mmcv's operators", r'no C\+\+ compiler'),
        ('Traceback\n  File x\nValueError: 3\n\n', '^ValueError: 3$'),
        ('', 'it printed nothing'),
    ],
)
def test_a_failure_is_one_line(tool, output, meaning):
    with pytest.raises(AssertionError, match=meaning):
        raise AssertionError(tool.explain(output))


def test_counts_of_a_test_run(tool):
    found = tool.counts(XML)
    assert found.startswith(
        '1 passed, 1 failed (test_c): the memory of the GPU is used'
    )
    assert found.endswith(', 1 skipped (1 needs 2 GPUs)')


@pytest.fixture
def check(tool, monkeypatch, tmp_path):
    """Run the tool with four small checks, of which one sleeps and one fails at first."""
    note = f'open({str(tmp_path / "note")!r}, "a").write'

    def few(python, device, folder):
        late = 'import os, time; time.sleep(60 * (not os.path.exists("{}/go")))'
        xml = f'open({str(folder / "heads.xml")!r}, "w").write({XML!r}); raise SystemExit(1)'
        codes = {
            'layers/heads': xml,
            'tests/models': f'{note}("m")',
            'benchmarks/pooling': f'{note}("p"); print("table")',
            'study/study-cpu': late.format(tmp_path),
        }
        return [
            tool.Check(*name.split('/'), [python, '-c', code])
            for name, code in codes.items()
        ]

    monkeypatch.setattr(tool, 'checks', few)
    machine = {**H100, 'gpus': 0}
    monkeypatch.setattr(tool, 'probe', lambda python: machine)
    folder = tmp_path / 'out'

    def run(*options):
        common = ['--work-dir', str(folder), '--python', sys.executable]
        status = tool.main(['--device', 'cpu', *common, *options])
        rows = json.loads((folder / 'gpu-report.json').read_text())['checks']
        return status, {row['name']: row['verdict'] for row in rows}

    run.machine, run.folder = machine, folder
    return run


def test_goes_on_where_it_stopped(check, tmp_path):
    names = '--only', 'layers', 'tests', 'benchmarks', 'study'
    status, verdicts = check(*names, '--minutes', '0.03')
    assert status == 1
    passed = dict(models='passed', pooling='passed')
    assert verdicts == dict(heads='failed', **passed, **{'study-cpu': 'skipped'})
    page = (check.folder / 'gpu-report.md').read_text()
    assert '* gpu: NVIDIA H100 80GB HBM3' in page
    assert '| study | study-cpu | skipped |' in page
    assert 'the time was used up' in page
    assert '```text\ntable\n```' in page
    (tmp_path / 'go').touch()
    status, verdicts = check('--only', 'tests', 'benchmarks', 'study')
    assert status == 0
    assert verdicts == dict(heads='failed', **passed, **{'study-cpu': 'passed'})
    assert (tmp_path / 'note').read_text() == 'mp'
    check('--only', 'tests', '--again')
    assert (tmp_path / 'note').read_text() == 'mpm'
    check.machine['torch'] = '2.11.0'  # nothing of another version counts
    assert check('--only', 'tests')[1] == dict(models='passed')
    assert (tmp_path / 'note').read_text() == 'mpmm'


def test_what_is_not_installed_or_in_time_is_skipped_by_name(check):
    check.machine['whole_stack'] = False
    status, verdicts = check('--only', 'tests')
    assert (status, verdicts) == (0, dict(models='skipped'))
    assert 'no mmcv, mmdet and mmseg' in (check.folder / 'gpu-report.md').read_text()
    check.machine['whole_stack'] = True
    assert check('--only', 'tests', '--minutes', '0')[1] == dict(models='skipped')
    assert 'minutes were used up' in (check.folder / 'gpu-report.md').read_text()


def test_every_command_names_what_is_there(tool, tmp_path):
    from benchmarks.__main__ import parser

    for device in ('cpu', 'cuda'):
        for item in tool.checks('python', device, tmp_path):
            words = item.command[1:]
            if words[:2] == ['-m', 'benchmarks']:
                assert parser().parse_args(words[2:]).device == device
            for word in words:
                if word.startswith(('tests/', 'tools/', 'configs/')):
                    assert (tool.ROOT / word).exists(), word


def test_the_page_takes_the_report_of_a_gpu_alone(tool, tmp_path, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text(tool.PAGE.read_text())
    monkeypatch.setattr(tool, 'PAGE', page)
    with pytest.raises(tool.GpuCheckError, match='--publish'):
        tool.publish({'device': 'cpu'}, 'figures\n')
    before = page.read_text()
    tool.publish({'device': 'cuda'}, 'figures\n')
    after = page.read_text()
    assert before.count('Not measured yet') == 1
    assert 'Not measured yet' not in after
    assert '<!-- gpu-report -->\nfigures\n<!-- end of gpu-report -->' in after


def test_an_interpreter_without_torch(tool, tmp_path):
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(tool.GpuCheckError, match="No module named 'torch'"):
        tool.probe(str(python))

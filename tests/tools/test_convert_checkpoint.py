"""The command line of the converter."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from mmgcp.utils.cli import run_main

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_checkpoint.py'


def _run(*args):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, args)], capture_output=True, text=True
    )


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp('source') / 'shufflenet.pth.tar'
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=3)
    torch.save({'state_dict': torch.nn.DataParallel(net).state_dict()}, path)
    return path


def test_report_and_file(source, tmp_path):
    done = _run(source, tmp_path / 'e.pth', '--hash-name')
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.splitlines()[-1])
    content = torch.load(path, weights_only=True)
    assert path.name == f'e-{content["meta"]["sha256"][:8]}.pth'
    lines = dict(
        line.split(maxsplit=1) for line in done.stdout.splitlines() if ' ' in line
    )
    assert int(lines['renamed']) == len(content['state_dict'])
    assert int(lines['dropped']) == 2
    for fate in ('unexpected', 'missing', 'mismatched'):
        assert int(lines[fate]) == 0
    assert lines['layout'] == content['meta']['layout'] == 'shufflenet_v2'
    assert len(done.stdout.splitlines()) < 40


def test_errors_have_no_traceback_and_write_nothing(source, tmp_path, capsys):
    main = runpy.run_path(str(TOOL))['main']
    page = tmp_path / 'page.pth'
    page.write_text('<html>too many downloads</html>')
    target = tmp_path / 'e.pth'
    for args, reason in (
        ([page, target], 'web page'),
        ([tmp_path / 'absent.pth', target], 'no such checkpoint'),
        ([source, target, '--max-size', '0.0001'], 'more than the limit'),
        ([source, target, '--layout', 'dropcov'], 'unexpected'),
        ([source, target, '--layout', 'list'], 'fast-mpn-cov'),
    ):
        with pytest.raises(SystemExit) as stop:
            run_main(main, [str(arg) for arg in args])
        assert stop.value.code == 1
        stderr = capsys.readouterr().err
        assert reason in stderr
        assert 'Traceback' not in stderr
    assert not target.exists()

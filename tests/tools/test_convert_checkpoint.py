"""The command line of the converter."""

from pathlib import Path

import pytest
import torch
import torchvision

from mmgcp.utils.files import file_sha256
from mmgcp.weights.reading import read_checkpoint


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_report_and_file(suffix, run_tool, tmp_path):
    source = tmp_path / 'shufflenet.pth.tar'
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=3)
    torch.save({'state_dict': torch.nn.DataParallel(net).state_dict()}, source)
    done = run_tool(
        'convert_checkpoint', source, tmp_path / f'e{suffix}', '--hash-name'
    )
    assert done.status == 0, done.err
    path = Path(done.out.splitlines()[-1])
    content = read_checkpoint(path)
    assert all(isinstance(value, str) for value in content['meta'].values())
    lines = dict(
        line.split(maxsplit=1) for line in done.out.splitlines() if ' ' in line
    )
    assert lines['sha256'] == file_sha256(path)
    assert path.name == f'e-{lines["sha256"][:8]}{suffix}'
    assert int(lines['renamed']) == len(content['state_dict'])
    assert int(lines['dropped']) == 2
    for fate in ('unexpected', 'missing', 'mismatched'):
        assert int(lines[fate]) == 0
    assert lines['layout'] == content['meta']['layout'] == 'shufflenet_v2'
    assert len(done.out.splitlines()) < 40

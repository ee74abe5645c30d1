"""What one stack trained, the other tests, resumes and exports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')

ROOT = Path(__file__).parents[2]
PROVIDER = 'from mmgcp.utils.stack import providers; print(providers()[0].family)'


def family(python: Path) -> str:
    found = subprocess.run(
        [str(python), '-c', PROVIDER],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    return found.stdout.strip()


def other_python() -> Path | None:
    """The Python of the other stack: $MMGCP_OTHER_PYTHON, or one of make's."""
    own = family(Path(sys.executable))
    named = os.environ.get('MMGCP_OTHER_PYTHON')
    folders = [ROOT / '.venv', ROOT / '.venv-openmmlab']
    candidates = [Path(named)] if named else [f / 'bin/python' for f in folders]
    for python in candidates:
        if python.exists() and family(python) not in ('', own):
            return python
    return None


def work(python: Path, scenes: Path, role: str, *folders: Path) -> dict:
    out = folders[-1] / f'{role}.json'
    folders[-1].mkdir(exist_ok=True)
    command = [python, Path(__file__).with_name('stack_work.py'), role, *folders, out]
    done = subprocess.run(
        [str(word) for word in command],
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'MMGCP_SCENES': str(scenes),
            'OMP_NUM_THREADS': '1',
        },
        cwd=folders[-1],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(out.read_text())


@pytest.mark.parametrize('own_writes', [True, False], ids=['there', 'back'])
def test_checkpoints_of_one_stack_on_the_other(own_writes, scenes, tmp_path):
    other = other_python()
    if other is None:
        pytest.skip('the other stack is not set up (make setup STACK=...)')
    pythons = [Path(sys.executable), other]
    writer, reader = pythons if own_writes else pythons[::-1]
    written = work(writer, scenes, 'write', tmp_path / 'theirs')
    found = work(reader, scenes, 'read', tmp_path / 'theirs', tmp_path / 'ours')
    for kind, metrics in written.items():
        assert found[kind]['metrics'].keys() == metrics.keys()
        for name, value in metrics.items():
            # Percent of pixels or images; kernels of another torch round elsewhere.
            assert found[kind]['metrics'][name] == pytest.approx(value, abs=0.5), name
        first, second = found[kind]['steps']
        assert second == 2 * first > 0
    assert 'conv1.weight' in found['encoder']

"""The package as pip installs it, in an environment of its own, outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Project, framework_folder, official_checkpoint
from test_training import DETECTOR, changed
from tiny_datasets import make_coco

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parents[2]
FILES = ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'model-index.yml')


def call(*words, cwd: Path, **environment: str) -> str:
    """Run a program where nothing of the checkout can be found; its output."""
    kept = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**kept, 'OMP_NUM_THREADS': '1', **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy to build from: setuptools writes into its source tree."""
    folder = tmp_path_factory.mktemp('source') / 'mmgcp'
    folder.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmgcp', 'configs', 'tools'):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


def clean_environment(folder: Path) -> Path:
    """An environment that has torch and the frameworks, and no mmgcp yet.

    They are found by a path file; the path files beside them, such as that of an
    editable mmgcp, are not read from there.
    """
    venv.create(folder, symlinks=True)
    python = folder / 'bin' / 'python'
    site = call(
        python,
        '-c',
        'import sysconfig; print(sysconfig.get_path("purelib"))',
        cwd=folder,
    ).strip()
    others = dict.fromkeys(sysconfig.get_path(name) for name in ('purelib', 'platlib'))
    (Path(site) / 'frameworks.pth').write_text('\n'.join(others) + '\n')
    missing = call(
        python,
        '-c',
        'from importlib.util import find_spec as f; print(f("mmdet"), f("mmgcp"))',
        cwd=folder,
    )
    assert missing.split()[-1] == 'None', missing
    return python


@pytest.mark.parametrize('how', ['wheel', 'editable'])
def test_two_lines_after_an_installation(how, source, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv.ops')
    # Looked for, not imported: setuptools minds what was imported before it.
    for tool in ('pip', 'setuptools'):
        if find_spec(tool) is None:
            pytest.skip(f'{tool} is not installed')
    python = clean_environment(tmp_path / 'environment')
    pip = (sys.executable, '-m', 'pip', '--quiet', '--disable-pip-version-check')
    offline = ('--no-deps', '--no-index', '--no-build-isolation')
    if how == 'wheel':
        wheels = tmp_path / 'wheels'
        call(*pip, 'wheel', *offline, '--wheel-dir', wheels, source, cwd=tmp_path)
        what = tuple(wheels.glob('mmgcp-*.whl'))
        expected = tmp_path / 'environment'
    else:
        what, expected = ('--editable', source), source
    # Installed already, for pip: the tests' own environment has an mmgcp too.
    call(
        *(*pip, '--python', python, 'install', '--ignore-installed', *offline, *what),
        cwd=tmp_path,
    )

    folder = tmp_path / 'project'
    make_coco(folder / 'data')
    official_checkpoint(folder / 'official.pth.tar')
    place = 'import mmgcp; print(mmgcp.__path__[0])'
    package = Path(call(python, '-c', place, cwd=folder).splitlines()[-1])
    assert package.is_relative_to(expected), package
    if how == 'wheel':  # `mim train mmgcp NAME` wants each name once
        names = Counter(path.name for path in package.rglob('*.py'))
        for folder in ('pretrain', 'detection', 'segmentation'):
            for path in (ROOT / 'configs' / folder).glob('*.py'):
                assert names[path.name] == 1, path.name
    convert = package / '.mim' / 'tools' / 'convert_checkpoint.py'
    call(python, convert, 'official.pth.tar', 'encoder.pth', cwd=folder)
    text = changed(DETECTOR.format(configs=framework_folder('mmdet') / 'configs'))
    project = Project(folder, python)
    project.write('detector.py', text)
    result = project.train('mmdet', 'detector.py')

    assert result.returncode == 0, result.stderr[-3000:]
    assert 'Encoder loaded from encoder.pth (sha256' in result.stdout + result.stderr
    assert (folder / 'work_dirs/detector.py/epoch_1.pth').is_file()

"""What the set-up script refuses, repairs and leaves alone. Nothing is installed here."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import packaging
import pytest

pytestmark = pytest.mark.once
SCRIPT = Path(__file__).parents[2] / 'tools' / 'setup_env.py'


@pytest.fixture
def setup_env(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location('setup_env', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'CACHE', tmp_path / 'cache')
    return module


@pytest.fixture
def environment(setup_env, monkeypatch, tmp_path):
    """A whole environment of the script, which only notes what would be done to it."""
    environment = setup_env.Environment(tmp_path / 'venv', 'onedl')
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    environment.mark('state', 'onedl')
    environment.calls = []

    def note(name):
        return lambda self, *arguments: self.calls.append(name)

    for name in ('install', 'install_mmcv', 'install_package'):
        monkeypatch.setattr(setup_env.Environment, name, note(name))
    monkeypatch.setattr(setup_env, 'find_python', lambda *arguments: sys.executable)
    monkeypatch.setattr(setup_env, 'find_compiler', lambda python: 'c++')

    def run(*command, **options):
        environment.calls.append(command[2])
        environment.python.parent.mkdir(parents=True, exist_ok=True)
        environment.python.touch()

    monkeypatch.setattr(setup_env, 'run', run)
    return environment


def executable(path: Path, text: str) -> Path:
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


def test_wrong_python_is_refused(setup_env, tmp_path):
    python = executable(tmp_path / 'python', 'echo 3.8')
    with pytest.raises(setup_env.SetupError, match=r'is 3\.8\. .* PYTHON='):
        setup_env.find_python('onedl', python)
    with pytest.raises(setup_env.SetupError, match='nowhere is not usable'):
        setup_env.find_python('onedl', tmp_path / 'nowhere')


def test_missing_compiler_and_headers_are_named(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('CXX', 'no-such-compiler')
    python = executable(tmp_path / 'python', f'echo {tmp_path}')
    with pytest.raises(setup_env.SetupError) as error:
        setup_env.find_compiler(python)
    for word in ('no-such-compiler', 'Python.h', 'build-essential', 'CXX'):
        assert word in str(error.value)


def test_gpu_without_cuda_toolkit_is_refused(setup_env, monkeypatch, tmp_path):
    monkeypatch.setattr(setup_env, 'run', lambda *command: 'cp311 True False')
    environment = setup_env.Environment(tmp_path, 'onedl')
    with pytest.raises(setup_env.SetupError, match='no nvcc .* CUDA_VISIBLE_DEVICES='):
        environment.install_mmcv()


@pytest.mark.parametrize(
    ('packages', 'message'),
    [
        ({}, "has no complete stack: .*No module named '"),
        ({'onedl-mmcv': 'mmcv', 'mmdet': 'mmdet'}, 'two stacks .* onedl-mmcv, mmdet'),
    ],
)
def test_unusable_environment_of_a_user(packages, message, tmp_path):
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', venv], check=True)
    (site,) = venv.glob('lib/python*/site-packages')
    shutil.copytree(packaging.__path__[0], site / 'packaging')
    for name, module in packages.items():
        (site / module).mkdir()
        (site / module / '__init__.py').touch()
        folder = site / f'{name.replace("-", "_")}-2.1.0.dist-info'
        folder.mkdir()
        (folder / 'METADATA').write_text(f'Name: {name}\nVersion: 2.1.0\n')
        (folder / 'RECORD').write_text(f'{module}/__init__.py,,\n')
    done = subprocess.run(
        [sys.executable, SCRIPT, '--venv', venv],
        env={**os.environ, 'MMGCP_CACHE': str(tmp_path / 'cache')},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert re.search(message, done.stderr), done.stderr


def test_a_finished_environment_is_left_alone(environment):
    environment.set_up(None, ['onedl', 'test'])
    assert environment.calls[-2:] == ['install_mmcv', 'install_package']
    environment.calls.clear()
    environment.set_up(None, ['onedl', 'test'])
    assert environment.calls == []


@pytest.mark.parametrize('error', ['KeyboardInterrupt', 'SetupError'])
def test_an_unfinished_environment(error, environment, setup_env, monkeypatch):
    """A killed installer may leave half a package behind, a failed one does not."""
    error = getattr(setup_env, error, KeyboardInterrupt)

    def stop(self):
        raise error('here')

    with monkeypatch.context() as patch:
        patch.setattr(setup_env.Environment, 'install_mmcv', stop)
        with pytest.raises(error):
            environment.set_up(None, ['onedl'])
    environment.calls.clear()
    environment.set_up(None, ['onedl'])
    assert ('venv' in environment.calls) == (error is KeyboardInterrupt)
    assert environment.calls[-1] == 'install_package'
    assert environment.is_whole()


@pytest.mark.skipif(not shutil.which('g++'), reason='g++ is not installed')
def test_precompiled_header_is_used(setup_env, tmp_path):
    """Through the stand-in for the compiler, as torch calls it."""
    compiler = executable(tmp_path / 'c++', '')
    text = setup_env.COMPILER.format(folder=tmp_path, compiler='g++')
    compiler.write_text(text.replace('torch/types.h', 'string'))
    (tmp_path / 'one.cpp').write_text('std::string one() { return "1"; }\n')
    words = '-MMD -MF one.o.d -O1 \'-DNAME="a"\' -c -c one.cpp -o one.o -std=c++17'
    done = subprocess.run(
        [compiler, '-H', *shlex.split(words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / 'one.o').is_file()
    # ``-H`` marks a precompiled header that is used by an exclamation mark.
    assert f'! {tmp_path}/header.hpp.gch' in done.stderr

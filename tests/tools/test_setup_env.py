"""The set-up script's checks, which must come before anything that takes long."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'tools' / 'setup_env.py'


@pytest.fixture(scope='module')
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_python(folder, version):
    executable = folder / 'python'
    executable.write_text(f'#!/bin/sh\necho {version}\n')
    executable.chmod(0o755)
    return executable


def test_wrong_python_is_refused_with_the_way_out(setup_env, tmp_path):
    python = fake_python(tmp_path, '3 8')
    with pytest.raises(setup_env.SetupError, match=r'is 3\.8, .* PYTHON='):
        setup_env.find_python('onedl', python)


def test_missing_python_is_refused(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env, 'python_version', lambda executable: None)
    with pytest.raises(
        setup_env.SetupError, match='No Python 3.10 with its venv module'
    ):
        setup_env.find_python('openmmlab')


def test_running_python_is_preferred(setup_env):
    if sys.version_info[:2] not in setup_env.STACKS['onedl']['pythons']:
        pytest.skip('the running Python is not one of the stack')
    assert setup_env.find_python('onedl') == sys.executable


@pytest.mark.parametrize(('version', 'fits'), [('2.13.1', True), ('2.14.0', False)])
def test_torch_that_needs_a_newer_language_is_refused(setup_env, version, fits):
    if fits:
        setup_env.check_torch_version(version, 'here')
    else:
        with pytest.raises(setup_env.SetupError, match='C\\+\\+20'):
            setup_env.check_torch_version(version, 'here')


def test_missing_compiler_is_refused(setup_env, monkeypatch):
    monkeypatch.setattr(setup_env.shutil, 'which', lambda name: None)
    with pytest.raises(setup_env.SetupError, match='build-essential'):
        setup_env.check_compiler(sys.executable)


def test_mixed_stacks_are_refused(setup_env):
    provided = {'mmcv': ['onedl-mmcv'], 'mmdet': ['mmdet']}
    with pytest.raises(
        setup_env.SetupError, match='mixes two stacks: onedl-mmcv and mmdet'
    ):
        setup_env.check_unmixed(provided, 'here')


def test_given_environment_without_a_stack_is_refused(tmp_path):
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', venv], check=True)
    done = subprocess.run(
        [sys.executable, SCRIPT, '--venv', venv], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'has no mmengine, mmcv' in done.stderr
    assert 'Traceback' not in done.stderr


def test_folder_that_is_no_environment_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, SCRIPT, '--venv', tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert 'does not exist; VENV must be' in done.stderr


def test_a_finished_environment_is_left_alone(setup_env, tmp_path, monkeypatch):
    """Nothing is run and nothing is printed when every step has its stamp."""
    environment = setup_env.Environment(tmp_path / 'venv', 'onedl')
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    extras = ['onedl', 'test']
    pins = environment.pins
    environment.mark('started', 'onedl')
    environment.mark('created', 'onedl')
    environment.mark('torch', f'{pins["torch"]} {pins["torchvision"]}')
    environment.mark('mmcv', ' '.join(pins['mmcv']))
    monkeypatch.setattr(setup_env.Environment, 'pip', lambda *args: None)
    finished = subprocess.CompletedProcess([], 0, stdout='')
    monkeypatch.setattr(setup_env.subprocess, 'run', lambda *args, **kwargs: finished)
    setup_env.set_up('onedl', environment.folder, None, extras)
    monkeypatch.setattr(setup_env.Environment, 'pip', pytest.fail)
    monkeypatch.setattr(setup_env, 'say', pytest.fail)
    setup_env.set_up('onedl', environment.folder, None, extras)


def test_wheels_of_other_versions_have_other_folders(setup_env, monkeypatch, tmp_path):
    monkeypatch.setenv('MMGCP_CACHE', str(tmp_path))
    environment = setup_env.Environment(Path(sys.prefix), 'onedl')
    folder = environment.wheel_folder()
    assert folder.parent == tmp_path / 'wheels'
    import torch

    assert f'torch{torch.__version__.split("+")[0]}' in folder.name
    assert f'cp{sys.version_info[0]}{sys.version_info[1]}' in folder.name
    assert os.uname().machine in folder.name

"""Exit statuses and messages that every command shares."""

import subprocess
import sys

import pytest
import torch

from mmgcp.utils.cli import ArgumentParser, add_cfg_options, explain, run_main
from mmgcp.utils.errors import UserError


def ended(main, argv=(), **kwargs):
    with pytest.raises(SystemExit) as left:
        run_main(main, list(argv), **kwargs)
    return left.value.code


def raising(error):
    def main(argv=None):
        raise error

    return main


@pytest.mark.parametrize(('returned', 'status'), [(None, 0), (0, 0), (3, 3)])
def test_status_is_what_main_returns(returned, status):
    assert ended(lambda argv: returned) == status


@pytest.mark.parametrize('argv', [[], ['--debug']])
def test_error_is_one_message_and_its_traceback_when_asked(capsys, argv):
    assert ended(raising(UserError('x.py: key=3, use 4')), argv) == 1
    err = capsys.readouterr().err
    assert err.endswith('error: x.py: key=3, use 4\n')
    assert ('Traceback' in err) == bool(argv)


def test_interrupt_says_how_to_go_on(capsys):
    more = dict(on_interrupt='Go on with', resume='--resume')
    assert ended(raising(KeyboardInterrupt()), ['a b'], **more) == 130
    err = capsys.readouterr().err
    assert 'interrupted. Go on with: python' in err
    assert err.endswith("'a b' --resume\n")


def test_an_unexpected_error_shows_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_main(raising(ZeroDivisionError('division by zero')), [])


def test_a_missing_file_is_named(tmp_path, capsys):
    def main(argv):
        (tmp_path / 'gone').read_text()

    assert ended(main) == 1
    assert str(tmp_path / 'gone') in capsys.readouterr().err


def test_missing_package_says_what_to_install():
    error = ModuleNotFoundError("No module named 'onnx'", name='onnx')
    assert 'pip install "mmgcp[export]"' in explain(error)


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UserError('a.jpg: does not open')


def test_the_message_of_a_worker_is_one_line():
    with pytest.raises(UserError, match='Original Traceback') as caught:
        next(iter(torch.utils.data.DataLoader(Broken(), num_workers=1)))
    assert explain(caught.value) == 'a.jpg: does not open'


def test_one_of_many_processes_says_which(capsys, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('RANK', '1')
    assert ended(raising(UserError('the reason'))) == 1
    assert 'rank 1: error: the reason' in capsys.readouterr().err


def test_a_lost_connection_during_an_interrupt_is_the_interrupt(monkeypatch):
    program = """
import os, signal, threading
from mmgcp.utils.cli import run_main

def main(argv):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    raise RuntimeError('Connection closed by peer')

run_main(main)
"""
    monkeypatch.setenv('WORLD_SIZE', '2')
    run = subprocess.run([sys.executable, '-c', program], capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, b'', b'')


def test_options_need_an_equals_sign(capsys):
    parser = ArgumentParser()
    add_cfg_options(parser)
    args = parser.parse_args(['--cfg-options', 'a.b=1', 'c=[x,y]'])
    assert args.cfg_options == {'a.b': 1, 'c': ['x', 'y']}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a.b'])
    assert "expected KEY=VALUE, found 'a.b'" in capsys.readouterr().err

"""Exit statuses and messages that every command shares."""

import errno
import subprocess
import sys

import pytest

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


def test_error_is_one_message(capsys):
    assert ended(raising(UserError('x.py: key=3, use 4'))) == 1
    err = capsys.readouterr().err
    assert err.endswith('error: x.py: key=3, use 4\n')
    assert 'Traceback' not in err


def test_debug_adds_the_traceback(capsys):
    assert ended(raising(UserError('wrong')), ['--debug']) == 1
    err = capsys.readouterr().err
    assert 'Traceback' in err
    assert err.endswith('error: wrong\n')


def test_interrupt_says_how_to_go_on(capsys):
    status = ended(raising(KeyboardInterrupt()), ['a b'], on_interrupt='Go on with')
    assert status == 130
    err = capsys.readouterr().err
    assert 'interrupted. Go on with: python' in err
    assert err.endswith("'a b'\n")


def test_unknown_errors_point_to_debug():
    text = explain(ZeroDivisionError('division by zero'))
    assert text.startswith('ZeroDivisionError: division by zero')
    assert '--debug' in text


def test_missing_key_is_named():
    assert "the key 'model' is missing" in explain(KeyError('model'))
    assert explain(KeyError('a sentence about it')).startswith('a sentence')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(OSError) as caught:  # noqa: PT011
        (tmp_path / 'gone').read_text()
    text = explain(caught.value)
    assert str(tmp_path / 'gone') in text
    assert 'Check the path' in text


def test_full_disk_is_found_behind_what_it_caused():
    full = OSError(errno.ENOSPC, 'No space left on device', 'model.pth')
    later = RuntimeError('unexpected position')
    later.__context__ = full
    assert explain(later) == (
        'model.pth: No space left on device. Free some space, or write to another disk'
    )


def test_missing_package_says_what_to_install():
    error = ModuleNotFoundError("No module named 'onnx'", name='onnx')
    assert 'pip install "mmgcp[export]"' in explain(error)


def test_a_file_of_numpy_2_asks_for_a_newer_numpy():
    error = ModuleNotFoundError("No module named 'numpy._core'", name='numpy._core')
    assert 'numpy>=1.26' in explain(error)


def test_one_of_many_processes_shows_where_it_failed(capsys, monkeypatch):
    def main(argv):
        raise RuntimeError('the reason')

    for world, expected in (('1', False), ('2', True)):
        monkeypatch.setenv('WORLD_SIZE', world)
        monkeypatch.setenv('RANK', '1')
        with pytest.raises(SystemExit):
            run_main(main, [])
        err = capsys.readouterr().err
        assert ('Traceback' in err) == expected
        assert ('rank 1: error: RuntimeError: the reason' in err) == expected


def test_options_need_an_equals_sign(capsys):
    parser = ArgumentParser()
    add_cfg_options(parser)
    args = parser.parse_args(['--cfg-options', 'a.b=1', 'c=[x,y]'])
    assert args.cfg_options == {'a.b': 1, 'c': ['x', 'y']}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'a.b'])
    assert "expected KEY=VALUE, found 'a.b'" in capsys.readouterr().err


SCRIPT = (
    'from mmgcp.utils.cli import run_main\n'
    'def main(argv): print("x" * 100000)\n'
    'run_main(main)\n'
)


@pytest.mark.parametrize(
    ('sink', 'status', 'message'),
    [('| true', 141, ''), ('> /dev/full', 1, 'No space left on device')],
)
def test_output_that_nobody_takes(sink, status, message, tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(SCRIPT)
    command = f'{sys.executable} {script} {sink}; echo "${{PIPESTATUS[0]}}" >&2'
    done = subprocess.run(['bash', '-c', command], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == str(status)
    assert message in done.stderr
    assert 'Traceback' not in done.stderr
    assert 'Exception ignored' not in done.stderr

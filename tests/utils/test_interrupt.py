"""Ctrl-C that a library swallows comes again; one that is obeyed does not."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

COMMAND = """
    import os, signal, sys, time
    from mmgcp.utils.cli import run_main

    def press():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)

    class Dying:
        def __del__(self):
            press()

    def swallowed_by_except():
        try:
            press()
        except BaseException:
            pass
        time.sleep(60)

    def swallowed_by_destructor():
        Dying()
        time.sleep(60)

    def made_another_error():
        try:
            press()
        except BaseException as error:
            raise RuntimeError('import failed') from error

    def left_as_text():
        try:
            press()
        except BaseException:
            text = 'KeyboardInterrupt: <EMPTY MESSAGE> At: hessian.py(203)'
        raise RuntimeError(text)

    def cleaned_up_slowly():
        try:
            press()
        finally:
            for _ in range(20):
                time.sleep(0.1)  # longer than it takes to look again
            print('cleaned up', flush=True)

    run_main(lambda argv: globals()[sys.argv[1]]())
"""


@pytest.mark.parametrize(
    'how',
    [
        'swallowed_by_except',
        'swallowed_by_destructor',
        'made_another_error',
        'left_as_text',
        'cleaned_up_slowly',
    ],
)
def test_an_interruption_ends_the_command(how, tmp_path):
    command = tmp_path / 'command.py'
    command.write_text(textwrap.dedent(COMMAND))
    done = subprocess.run(
        [sys.executable, command, how],
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == 130, done.stderr
    assert 'interrupted. Run the same command again' in done.stderr
    assert 'Traceback' not in done.stderr
    assert 'KeyboardInterrupt' not in done.stderr
    assert ('cleaned up' in done.stdout) == (how == 'cleaned_up_slowly')


def test_handlers_of_others_stay():
    from mmgcp.utils.interrupt import insist_on_interrupts

    mine = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with insist_on_interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, mine)

"""What every command shares: options, exit statuses, errors without tracebacks.

Nothing heavy is imported here, and commands import their library inside ``main``:
a wrong option is answered at once, and Ctrl-C is heard from the first moment.
"""

import argparse
import errno
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence

from .errors import UserError, chain
from .interrupt import insist_on_interrupts, is_interruption

INTERRUPTED = 130  # 128 + SIGINT, as shells report it
BROKEN_PIPE = 141  # 128 + SIGPIPE

WAYS_OUT = {
    errno.ENOSPC: 'Free some space, or write to another disk',
    errno.EDQUOT: 'Free some space within your quota, or write to another disk',
    errno.EFBIG: 'Raise the limit (ulimit -f), or write to another disk',
    errno.EACCES: 'Check who owns it and its permissions, or choose another path',
    errno.EPERM: 'Check who owns it and its permissions, or choose another path',
    errno.EROFS: 'Choose a path that can be written to',
    errno.ENOENT: 'Check the path; relative paths start at the current folder',
    errno.EISDIR: 'Give a file instead',
    errno.ENOTDIR: 'Give a folder instead',
    errno.EEXIST: 'Remove it, or choose another path',
    errno.ENAMETOOLONG: 'Choose a shorter name',
    errno.EMFILE: 'Raise the limit of open files (ulimit -n)',
    errno.ECONNREFUSED: 'Check the address and the network, then try again',
    errno.ETIMEDOUT: 'Check the address and the network, then try again',
}


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where it says something."""

    def _get_help_string(self, action):
        if action.default in (None, False) or not action.option_strings:
            return action.help
        return super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that shows defaults and knows ``--debug``."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault('formatter_class', _Formatter)
        kwargs.setdefault('allow_abbrev', False)
        super().__init__(*args, **kwargs)
        self.add_argument(
            '--debug',
            action='store_true',
            default=argparse.SUPPRESS,
            help='show the traceback of an error',
        )


class OptionsAction(argparse.Action):
    """``KEY=VALUE`` pairs, read as the frameworks' own commands read them."""

    def __call__(self, parser, namespace, values, option_string=None):
        for pair in values:
            if '=' not in pair.lstrip('='):
                raise argparse.ArgumentError(
                    self, f'expected KEY=VALUE, found {pair!r}'
                )
        from mmengine.config import DictAction

        DictAction(self.option_strings, self.dest)(parser, namespace, values)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...``; the parsed value is a dict or None."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='change the config: model.backbone.depth=50, lists as a,b or "[a,b]"',
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``; see :func:`mmgcp.utils.device.pick_device`."""
    parser.add_argument('--device', help='cpu, cuda or cuda:0; the GPU if there is one')


def add_launcher_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and what the launchers themselves add."""
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started',
    )
    # torch.distributed.launch passes it; torchrun sets the variable.
    parser.add_argument(
        '--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS
    )


def run_main(
    main: Callable[[Sequence[str] | None], int | None],
    argv: Sequence[str] | None = None,
    on_interrupt: str = 'Run the same command again',
) -> None:
    """Run a command and exit with its status.

    Every exception ends in one message on stderr and a status that is not zero.
    With ``--debug`` among the arguments the traceback is printed in front of it, and
    so it is in one of many processes, unless the message is all there is to say: a
    failure among many may not come again. Processes that succeed leave their group
    together.

    Args:
        main: Takes the arguments, returns the status or None for success.
        argv: Arguments; those of the process by default.
        on_interrupt: How to go on after Ctrl-C.

    Raises:
        SystemExit: Always.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    # A log that cannot be written, as on a full disk, is no traceback for each line.
    logging.raiseExceptions = '--debug' in given
    status: object
    try:
        try:
            with insist_on_interrupts():
                status = main(argv)
                _leave_group()
        except SystemExit as leave:  # argparse, after --help or a wrong option
            status = leave.code
        # output to a closed pipe or a full disk fails here, not at exit
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        sys.exit(BROKEN_PIPE)
    except (KeyboardInterrupt, Exception) as error:
        if is_interruption(error):
            command = shlex.join(['python', sys.argv[0], *given])
            sys.exit(_report(f'interrupted. {on_interrupt}: {command}', INTERRUPTED))
        _drop_unwritable_output()
        if '--debug' in given or (_rank() and not _says_all(error)):
            traceback.print_exc()
        sys.exit(_report(f'error: {explain(error)}', 1))
    sys.exit(status or 0)  # type: ignore[arg-type]


def explain(error: BaseException) -> str:
    """One message for a reader who knows nothing of the code.

    A full disk often surfaces as another error on top of the one that says so;
    the whole chain is searched.
    """
    for link in chain(error):
        if isinstance(link, OSError) and link.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
        ):
            return _explain_os_error(link)
    text = _text(error)
    if _says_all(error):
        return text
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition('.')[0]
        if error.name.startswith('numpy._core'):
            return (
                'a file was written with NumPy 2, which NumPy 1.26 can read and older '
                'ones cannot. Update it: pip install "numpy>=1.26,<2"'
            )
        return f'the package {package!r} is needed here ({text}). {_extra(package)}'
    if type(error).__name__ == 'OutOfMemoryError':
        return f'{text.splitlines()[0]} Use a smaller batch or image, or --amp'
    if isinstance(error, MemoryError):
        return 'the memory of this machine is used up. Use a smaller batch or image'
    if 'PytorchStreamReader failed' in text:
        return f'a checkpoint is truncated or damaged ({text}). Is it whole?'
    if 'PytorchStreamWriter failed' in text:
        return f'a checkpoint could not be written ({text}). Is the disk full?'
    if isinstance(error, KeyError) and text == repr(error.args[0]):
        text = f'the key {text} is missing'
    name = (
        '' if isinstance(error, ValueError | KeyError) else f'{type(error).__name__}: '
    )
    return f'{name}{text}\n(add --debug to see where this happened)'


def _text(error: BaseException) -> str:
    if isinstance(error, KeyError) and error.args:
        key = error.args[0]
        # what mmengine raises is a sentence, what a dict raises is a key
        return key if isinstance(key, str) and ' ' in key else repr(key)
    return str(error).strip() or type(error).__name__


def _explain_os_error(error: OSError) -> str:
    if error.errno is None or error.strerror is None:
        return str(error) or type(error).__name__
    names = [os.fsdecode(n) for n in (error.filename, error.filename2) if n is not None]
    where = f'{" -> ".join(map(str, names))}: ' if names else ''
    way_out = WAYS_OUT.get(error.errno)
    return f'{where}{error.strerror}.' + (f' {way_out}' if way_out else '')


def _extra(package: str) -> str:
    frameworks = ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain')
    if package in frameworks:
        return 'Install one of the stacks: pip install "mmgcp[onedl]"'
    if package.startswith('onnx'):
        return 'Install it with: pip install "mmgcp[export]"'
    return 'Install it with: pip install "mmgcp[study]"'


def _says_all(error: BaseException) -> bool:
    return isinstance(error, UserError) or type(error).__module__.startswith('mmgcp.')


def _rank() -> str:
    """Which of many processes this is; nothing for a process on its own."""
    alone = os.environ.get('WORLD_SIZE', '1') == '1'
    return '' if alone else f'rank {os.environ.get("RANK", "?")}: '


def _leave_group() -> None:
    if 'torch.distributed' in sys.modules:
        from .distributed import leave_group

        leave_group()


def _report(message: str, status: int) -> int:
    program = os.path.basename(sys.argv[0])
    print(f'{program}: {_rank()}{message}', file=sys.stderr, flush=True)
    return status


def _drop_unwritable_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        _silence_stdout()


def _silence_stdout() -> None:
    """Let the flush at exit succeed: what was to be written has no reader."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, sys.stdout.fileno())
    os.close(sink)

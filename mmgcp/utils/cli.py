"""What every command shares: options, exit statuses, errors without tracebacks.

Nothing heavy is imported here, and commands import their library inside ``main``, so
that a wrong option is answered at once.
"""

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence

from .errors import UserError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


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
            help='show the traceback of an error, and more of the log',
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


def add_track_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--track``; see :func:`mmgcp.engine.tracking.add_tracker`."""
    parser.add_argument(
        '--track',
        metavar='TRACKER',
        help='send the curves to tensorboard, wandb or mlflow',
    )


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``; see :func:`mmgcp.weights.reading.read_checkpoint`."""
    parser.add_argument(
        '--trust',
        action='store_true',
        help='build every Python object of a checkpoint: it can run code',
    )


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
    resume: str | None = None,
) -> None:
    """Run a command and exit with its status.

    An expected error (:class:`UserError`, a missing package, an error of the operating
    system) is one message on stderr and status 1; ``--debug`` adds the traceback.
    Any other exception is a fault of the program and shows its traceback.

    Args:
        main: Takes the arguments, returns the status or None for success.
        on_interrupt: How to go on after Ctrl-C, in front of the command.
        resume: Option that the command needs to go on, such as ``--resume``.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    program = os.path.basename(sys.argv[0])
    alone = os.environ.get('WORLD_SIZE', '1') == '1'
    rank = '' if alone else f'rank {os.environ.get("RANK", "?")}: '
    try:
        try:
            status = main(argv)
        finally:
            # An interrupt that came while this rank lost another one counts first.
            sys.stdout.flush()
    except KeyboardInterrupt:
        more = [resume] if resume and resume not in given else []
        command = shlex.join(['python', sys.argv[0], *given, *more])
        message = f'interrupted. {on_interrupt}: {command}'
        status = INTERRUPTED
        if not alone:
            # What started the processes says it, once. It passes the signal on as
            # well, which must not meet an interpreter that is about to end.
            os._exit(status)
    except EXPECTED as error:
        if '--debug' in given:
            traceback.print_exc()
        message, status = f'error: {explain(error)}', 1
    else:
        sys.exit(status or 0)
    print(f'{program}: {rank}{message}', file=sys.stderr, flush=True)
    sys.exit(status)


#: Errors that come from outside the program.
EXPECTED = (UserError, OSError, ModuleNotFoundError, MemoryError)


def explain(error: BaseException) -> str:
    """The message of an expected error, with the way out."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition('.')[0]
        extra = 'export' if package.startswith('onnx') else 'study'
        if package in ('mmengine', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
            extra = 'onedl'
        return (
            f'the package {package!r} is needed here. Install it with: pip install '
            f'"mmgcp[{extra}]"'
        )
    if isinstance(error, MemoryError):
        return 'the memory of this machine is used up. Use a smaller batch or image'
    return str(error) or type(error).__name__

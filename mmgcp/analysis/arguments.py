"""What the analysis tools share: options, and the way from them to a report."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

from mmengine.logging import MMLogger

from mmgcp.engine.distributed import is_main, join_group
from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_device_option,
    add_launcher_option,
    add_trust_option,
)
from mmgcp.utils.run_specs import run_specs

from .sample import Settings


def parser(description: str) -> ArgumentParser:
    """Parser with the runs, their labels, the launcher and the output folder."""
    result = ArgumentParser(description=description)
    result.add_argument(
        'runs',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help='pairs of config and checkpoint; all go into one picture',
    )
    result.add_argument('--labels', nargs='+', help='name of each run')
    result.add_argument('--out', required=True, help='folder of the JSON and the PNG')
    add_cfg_options(result)
    add_launcher_option(result)
    return result


def add_model_options(result: ArgumentParser) -> None:
    """Options of an analysis that loads the models."""
    result.add_argument('--seed', type=int, default=0, help='seed of all choices')
    add_trust_option(result)
    add_device_option(result)


def add_sample_options(result: ArgumentParser, split: str = 'train') -> None:
    """Options of an analysis that looks at a fixed sample of images."""
    result.add_argument(
        '--images',
        type=int,
        help='size of the sample; goes into the output (default: per framework)',
    )
    result.add_argument(
        '--batch-size', type=int, help='most images of one forward pass'
    )
    result.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default=split,
        help='whose data loader of the config the sample comes from',
    )
    add_model_options(result)


def run(
    parser: ArgumentParser,
    argv: Sequence[str] | None,
    analysis: Callable[..., dict],
    lines: Callable[[dict], Iterable[str]],
) -> None:
    """Analyze what the command line asks for, and print the lines about the result.

    Options that a tool adds to the parser are arguments of ``analysis``.
    """
    given = vars(parser.parse_args(argv))
    given.pop('debug', None)  # see run_main
    os.environ.setdefault('LOCAL_RANK', str(given.pop('local_rank')))
    join_group(given.pop('launcher'))
    # Evaluators print their tables through the current logger.
    if not MMLogger.check_instance_created('mmgcp.analysis'):
        MMLogger.get_instance('mmgcp.analysis', log_level='WARNING')
    specs, out = run_specs(given.pop('runs'), given.pop('labels')), given.pop('out')
    given['options'] = given.pop('cfg_options')
    names = [field.name for field in fields(Settings) if field.name in given]
    settings = Settings(**{name: given.pop(name) for name in names})
    result = analysis(specs, out, settings, **given)
    if is_main():
        place = f'{out}/{result["analysis"]}.json and .png'
        print(*lines(result), place, sep='\n')

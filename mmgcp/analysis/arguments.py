"""Options that the analysis tools share."""

import argparse
import os
from collections.abc import Sequence

from mmengine.logging import MMLogger

from mmgcp.engine.distributed import is_main, join_group
from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_device_option,
    add_launcher_option,
    add_trust_option,
)
from mmgcp.utils.run_specs import RunSpec, run_specs

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
    result.add_argument('--batch-size', type=int, help='images per forward pass')
    result.add_argument(
        '--split',
        choices=['train', 'val', 'test'],
        default=split,
        help='whose data loader of the config the sample comes from',
    )
    add_model_options(result)


def begin(args: argparse.Namespace) -> list[RunSpec]:
    """Join the process group and return the runs to analyze."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    join_group(args.launcher)
    # Evaluators print their tables through the current logger.
    if not MMLogger.check_instance_created('mmgcp.analysis'):
        MMLogger.get_instance('mmgcp.analysis', log_level='WARNING')
    return run_specs(args.runs, args.labels)


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that were given."""
    names = ('images', 'batch_size', 'split', 'seed', 'device', 'trust')
    given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return Settings(**given, options=args.cfg_options)


def report(result: dict, out: str, lines: Sequence[str]) -> None:
    """Say in a few lines what was found and where it is."""
    if is_main():
        print(*lines, f'{out}/{result["analysis"]}.json and .png', sep='\n')

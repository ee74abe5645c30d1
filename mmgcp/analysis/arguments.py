"""Options that the analysis tools share."""

import argparse
import os
from collections.abc import Sequence

from mmengine.logging import MMLogger

from mmgcp.utils.cli import ArgumentParser, add_cfg_options
from mmgcp.utils.device import pick_device

from mmgcp.engine.distributed import start
from .runs import RunSpec, run_specs


def parser(description: str, seed: bool = True) -> ArgumentParser:
    """Parser with the runs, their labels and where the result goes."""
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
    result.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='how the processes were started',
    )
    if seed:
        result.add_argument('--seed', type=int, default=0, help='seed of all choices')
        result.add_argument('--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return result


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
    result.add_argument('--device', help='such as cpu or cuda:0 (default: the best)')


def begin(args: argparse.Namespace) -> list[RunSpec]:
    """Join the process group and return the runs to analyse."""
    if 'LOCAL_RANK' not in os.environ:
        os.environ['LOCAL_RANK'] = str(getattr(args, 'local_rank', 0))
    if getattr(args, 'device', None) is not None:
        pick_device(args.device)
    start(args.launcher)
    # Building a model logs every tensor it initialises.
    if not MMLogger.check_instance_created('mmgcp.analysis'):
        MMLogger.get_instance('mmgcp.analysis', log_level='WARNING')
    return run_specs(args.runs, args.labels)


def sample_arguments(args: argparse.Namespace) -> dict:
    """Keyword arguments for what :func:`add_sample_options` added."""
    names = ('images', 'batch_size', 'split', 'device', 'seed')
    found = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return {**found, 'options': args.cfg_options}


def report(result: dict, out: str, lines: Sequence[str]) -> None:
    """Say in a few lines what was found and where it is."""
    from mmgcp.engine.distributed import is_main

    if is_main():
        print(*lines, f'{out}/{result["analysis"]}.json and .png', sep='\n')

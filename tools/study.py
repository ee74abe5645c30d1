#!/usr/bin/env python
"""Run a cross-task study: pre-train, transfer, evaluate, report."""

from collections.abc import Sequence
from pathlib import Path

from mmgcp.utils.cli import ArgumentParser, add_cfg_options, run_main

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='study, e.g. configs/studies/scenes.py')
    parser.add_argument('--work-dir', help="folder instead of the study's own")
    parser.add_argument('--seeds', type=int, metavar='N', help='number of seeds')
    parser.add_argument('--encoders', nargs='+', help='only these encoders')
    parser.add_argument('--tasks', nargs='+', help='only these tasks')
    parser.add_argument(
        '--analyses', nargs='+', help='analyses to run as well: names, or all'
    )
    parser.add_argument(
        '--jobs', type=int, metavar='N', help='steps at a time, sharing the processors'
    )
    parser.add_argument(
        '--nproc',
        type=int,
        metavar='N',
        help='processes of each training and evaluation (torchrun)',
    )
    parser.add_argument(
        '--slurm',
        nargs='*',
        metavar='[KIND:]KEY=VALUE',
        help='submit the steps: partition=gpu pretrain:timeout_min=1440 ...',
    )
    parser.add_argument(
        '--retries',
        type=int,
        default=0,
        metavar='N',
        help='resume a training that died, if it had written a new checkpoint',
    )
    parser.add_argument(
        '--export-graph',
        metavar='FILE.json',
        help='write the graph as JSON, and a Snakefile that reads it',
    )
    parser.add_argument(
        '--keep',
        choices=['last', 'report'],
        help='when all is done, keep only the last checkpoint of each training, or none',
    )
    parser.add_argument(
        '--dry-run', action='store_true', help='print the graph and every command'
    )
    parser.add_argument(
        '--report-only', action='store_true', help='report what is done, run nothing'
    )
    parser.add_argument(
        '--track',
        metavar='TRACKER',
        help='send the curves of all steps to tensorboard, wandb or mlflow',
    )
    parser.add_argument(
        '--power',
        action='store_true',
        help='after a pilot: print how many seeds the study needs, run nothing',
    )
    parser.add_argument(
        '--record',
        metavar='FILE.json',
        help='write the values and the design of a finished study, run nothing',
    )
    add_cfg_options(parser)
    options = vars(parser.parse_args(argv))
    options.pop('debug', None)

    from mmgcp.study.run import run_study

    return run_study(root=ROOT, **options)


if __name__ == '__main__':
    run_main(main, on_interrupt='Finished steps are kept. Go on with')

#!/usr/bin/env python
"""Evaluate a checkpoint with any mmpretrain, mmdet or mmseg config."""

import argparse
import os
import sys

# Before torch is imported: threads that wait without spinning, or a busy
# neighbour on the same cores slows small matrix products many times over.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmengine.config import DictAction

from mmgcp.utils.data_check import MissingDataError
from mmgcp.utils.runner import UsageError, evaluate


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument('--work-dir', help='folder of the log')
    parser.add_argument('--out', metavar='JSON', help='file for the metrics')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='overrides of the config: key.in.it=value, lists as a,b or "[a,b]"',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none'
    )
    parser.add_argument(
        '--debug', action='store_true', help='show the traceback of wrong usage too'
    )
    # torch.distributed.launch passes it; torchrun sets the variable.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    os.environ.setdefault('LOCAL_RANK', str(options.pop('local_rank')))
    debug = options.pop('debug')
    try:
        evaluate(**options)
    except (UsageError, MissingDataError) as error:
        if debug:
            raise
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()

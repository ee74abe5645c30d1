#!/usr/bin/env python
"""Evaluate a checkpoint with any mmpretrain, mmdet or mmseg config."""

import os

from mmgcp.utils.cli import (
    ArgumentParser,
    add_cfg_options,
    add_launcher_option,
    add_track_option,
    add_trust_option,
    run_main,
)


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('checkpoint', help='path of the checkpoint')
    parser.add_argument(
        '--data',
        metavar='CONFIG',
        help='test on the data of another config, such as configs/robustness/*.py',
    )
    parser.add_argument('--work-dir', help='folder of the log')
    parser.add_argument('--out', metavar='JSON', help='file for the metrics')
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    add_cfg_options(parser)
    add_track_option(parser)
    add_trust_option(parser)
    add_launcher_option(parser)
    options = vars(parser.parse_args(argv))
    if options.pop('debug', False):
        options['cfg_options'] = {
            'log_level': 'DEBUG',
            **(options['cfg_options'] or {}),
        }
    os.environ.setdefault('LOCAL_RANK', str(options.pop('local_rank')))

    from mmgcp.engine.distributed import leave_group
    from mmgcp.engine.training import evaluate

    evaluate(**options)
    leave_group()


if __name__ == '__main__':
    run_main(main)

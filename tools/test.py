#!/usr/bin/env python
"""Evaluate a checkpoint with any mmpretrain, mmdet or mmseg config."""

from mmgcp.utils.cli import ArgumentParser, parse_run_options, run_main


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
    options = parse_run_options(parser, argv)

    from mmgcp.engine.distributed import leave_group
    from mmgcp.engine.training import evaluate

    evaluate(**options)
    leave_group()


if __name__ == '__main__':
    run_main(main)

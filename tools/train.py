#!/usr/bin/env python
"""Train any mmpretrain, mmdet or mmseg config; its default_scope decides which."""

from mmgcp.utils.cli import ArgumentParser, parse_run_options, run_main


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='path of the config')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, or from the last one in the work folder',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--amp-dtype',
        choices=['float16', 'bfloat16'],
        help='of --amp; that of the config, or float16, by default',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the total batch size',
    )
    parser.add_argument(
        '--test-out',
        metavar='JSON',
        help='evaluate the trained model on the test data, and write the metrics here',
    )
    options = parse_run_options(parser, argv)

    from mmgcp.engine.distributed import leave_group
    from mmgcp.engine.training import train

    train(**options)
    leave_group()


if __name__ == '__main__':
    run_main(
        main, on_interrupt='Go on from the last checkpoint with', resume='--resume'
    )

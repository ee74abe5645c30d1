#!/usr/bin/env python
"""Draw training samples of a config after augmentation, with their annotations."""

from mmgcp.utils.cli import ArgumentParser, add_cfg_options, run_main


def main(argv=None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('config', help='any config of mmpretrain, mmdet or mmseg')
    parser.add_argument('--out', default='samples', help='folder of the pictures')
    parser.add_argument('--count', type=int, default=12, help='number of samples')
    parser.add_argument(
        '--repeats', type=int, default=1, help='draws of the augmentation of each'
    )
    parser.add_argument(
        '--original', action='store_true', help="put the file's picture in front"
    )
    parser.add_argument('--seed', type=int, default=0, help='chooses the samples')
    add_cfg_options(parser)
    args = parser.parse_args(argv)

    from mmgcp.visualization.browse import browse

    written = browse(
        args.config,
        args.out,
        count=args.count,
        repeats=args.repeats,
        original=args.original,
        seed=args.seed,
        options=args.cfg_options,
    )
    print(f'{written[0]} and {len(written) - 1} pictures')


if __name__ == '__main__':
    run_main(main)

#!/usr/bin/env python
"""Loss and gradient stability along the gradient of the stem's output."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.landscape import landscape
    from mmgcp.analysis.variance import lines_of

    parser = arguments.parser(
        f'{__doc__} A checkpoint may be the landscape.json of a LandscapeHook; '
        'several checkpoints under one label make a band over training. Several '
        'processes share the batches.'
    )
    arguments.add_sample_options(parser)
    parser.add_argument(
        '--steps',
        nargs=3,
        type=float,
        metavar=('FIRST', 'LAST', 'NUMBER'),
        help='equally spaced step sizes (default: those published for the network)',
    )
    parser.add_argument(
        '--seeds', action='store_true', help='runs of one label are seeds of one arm'
    )
    parser.add_argument('--stem', help='module whose output is moved')
    args = parser.parse_args(argv)
    runs = arguments.begin(args)
    result = landscape(
        runs,
        args.out,
        arguments.settings_of(args),
        steps=args.steps and (*args.steps[:2], int(args.steps[2])),
        stem=args.stem,
        seeds=args.seeds,
    )
    lines = [
        f'{row["label"]}: loss {row["loss_band"][0]:.4g} to {row["loss_band"][1]:.4g}, '
        f'effective beta {row["effective_beta"]:.4g}'
        for row in result['runs']
    ]
    if args.seeds:
        lines += lines_of(result['arms'])
    arguments.report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

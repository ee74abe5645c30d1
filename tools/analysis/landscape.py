#!/usr/bin/env python
"""Loss and gradient stability along the gradient of the stem's output."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis.arguments import (
        add_sample_options,
        begin,
        parser,
        report,
        sample_arguments,
    )
    from mmgcp.analysis.landscape import DEFAULT_STEPS, landscape

    args_of = parser(
        f'{__doc__} A checkpoint may be the landscape.json of a LandscapeHook; '
        'several checkpoints under one label make a band over training. Several '
        'processes share the batches.'
    )
    add_sample_options(args_of)
    args_of.add_argument(
        '--steps',
        nargs=3,
        type=float,
        default=DEFAULT_STEPS,
        metavar=('FIRST', 'LAST', 'NUMBER'),
        help='equally spaced step sizes',
    )
    args_of.add_argument('--stem', help='module whose output is moved')
    args = args_of.parse_args(argv)
    first, last, number = args.steps
    result = landscape(
        begin(args),
        args.out,
        steps=(first, last, int(number)),
        stem=args.stem,
        **sample_arguments(args),
    )
    lines = [
        f'{row["label"]}: loss {row["loss_band"][0]:.4g} to {row["loss_band"][1]:.4g}, '
        f'effective beta {row["effective_beta"]:.4g}'
        for row in result['runs']
    ]
    report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

#!/usr/bin/env python
"""How a pooling head reshapes the gradient that reaches the last convolution."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.preconditioner import HEADS, preconditioner

    parser = arguments.parser(f'{__doc__} Several processes share the runs.')
    arguments.add_sample_options(parser)
    add = parser.add_argument
    add('--heads', nargs='+', choices=HEADS, default=HEADS, help='heads to compare')
    add('--reduced-channels', type=int, default=64, help='in front of a covariance')
    args = parser.parse_args(argv)
    runs = arguments.begin(args)
    result = preconditioner(
        runs,
        args.out,
        arguments.settings_of(args),
        heads=args.heads,
        reduced_channels=args.reduced_channels,
    )
    lines = [
        f'{row["label"]}, {head}: effective rank '
        f'{entry["output_gradient"]["effective_rank"]:.4g}, halves of the sample '
        f'{entry["angle_between_halves"]:.4g} degrees apart'
        for row in result['runs']
        for head, entry in row['heads'].items()
    ]
    arguments.report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

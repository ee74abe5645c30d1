#!/usr/bin/env python
"""How a pooling head reshapes the gradient that reaches the last convolution."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis.arguments import (
        add_sample_options,
        begin,
        parser,
        report,
        sample_arguments,
    )
    from mmgcp.analysis.preconditioner import preconditioner
    from mmgcp.analysis.probes import HEADS

    args_of = parser(f'{__doc__} Several processes share the runs.')
    add_sample_options(args_of)
    add = args_of.add_argument
    add('--heads', nargs='+', choices=HEADS, default=HEADS, help='heads to compare')
    add('--reduced-channels', type=int, default=64, help='in front of a covariance')
    add('--damping', type=float, default=1e-2, help='of K-FAC, relative')
    add('--conv', help="another convolution than the encoder's last")
    args = args_of.parse_args(argv)
    result = preconditioner(
        begin(args),
        args.out,
        heads=args.heads,
        reduced_channels=args.reduced_channels,
        damping=args.damping,
        conv=args.conv,
        **sample_arguments(args),
    )
    lines = [
        f'{row["label"]}, {head}: effective rank '
        f'{entry["output_gradient"]["effective_rank"]:.4g}, angle to K-FAC '
        f'{entry["angle_to_kfac"]:.4g} degrees'
        for row in result['runs']
        for head, entry in row['heads'].items()
    ]
    report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

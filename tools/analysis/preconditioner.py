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
    arguments.run(parser, argv, preconditioner, lines)


def lines(result):
    for row in result['runs']:
        for head, entry in row['heads'].items():
            yield (
                f'{row["label"]}, {head}: effective rank '
                f'{entry["output_gradient"]["effective_rank"]:.4g}, halves of the '
                f'sample {entry["angle_between_halves"]:.4g} degrees apart'
            )


if __name__ == '__main__':
    run_main(main)

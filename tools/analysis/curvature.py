#!/usr/bin/env python
"""Flatness: Hessian eigenvalues and trace, random directions, sharpness."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis.arguments import (
        add_sample_options,
        begin,
        parser,
        report,
        sample_arguments,
    )
    from mmgcp.analysis.curvature import DEFAULT_RADII, curvature
    from mmgcp.analysis.hessian import ENGINES

    args_of = parser(f'{__doc__} Several processes share the batches.')
    add_sample_options(args_of)
    add = args_of.add_argument
    add('--part', default='backbone', help='backbone, all, or a parameter prefix')
    add(
        '--batch-norm',
        choices=['eval', 'train'],
        default='eval',
        help='running statistics, or those of each batch',
    )
    add('--top', type=int, default=3, help='eigenvalues to report')
    add('--lanczos-steps', type=int, default=12, help='products for the eigenvalues')
    add('--probes', type=int, default=8, help='products for the trace')
    add('--points', type=int, default=15, help='points on each line')
    add('--grid', type=int, default=7, help='points per side of the plane; 0: none')
    add('--span', type=float, default=0.5, help='largest distance on lines and plane')
    add('--radii', type=float, nargs='+', default=DEFAULT_RADII, help='of sharpness')
    add('--ascent-steps', type=int, default=3, help='steps uphill per radius')
    add('--engine', choices=['auto', *ENGINES], default='auto')
    args = args_of.parse_args(argv)
    names = (
        'part',
        'batch_norm',
        'top',
        'lanczos_steps',
        'probes',
        'points',
        'grid',
        'span',
        'radii',
        'ascent_steps',
        'engine',
    )
    result = curvature(
        begin(args),
        args.out,
        **{name: getattr(args, name) for name in names},
        **sample_arguments(args),
    )
    lines = [
        f'{row["label"]}: largest eigenvalue {row["hessian"]["eigenvalues"][0]:.4g} '
        f'(within {row["hessian"]["residuals"][0]:.2g}), trace '
        f'{row["trace"]["trace"]:.4g} +- {row["trace"]["standard_error"]:.2g}; '
        f'{row["hessian_products"]["engine"]}'
        for row in result['runs']
    ]
    report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

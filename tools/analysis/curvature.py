#!/usr/bin/env python
"""Flatness: Hessian eigenvalues and trace, random directions, sharpness."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.curvature import DEFAULT_RADII, curvature

    parser = arguments.parser(f'{__doc__} Several processes share the batches.')
    arguments.add_sample_options(parser)
    add = parser.add_argument
    add('--part', default='backbone', help='backbone, all, or a parameter prefix')
    add('--lanczos-steps', type=int, default=12, help='products for the eigenvalues')
    add('--probes', type=int, default=8, help='products for the trace')
    add('--points', type=int, default=15, help='points on each line')
    add('--grid', type=int, default=7, help='points per side of the plane')
    add('--span', type=float, default=0.5, help='largest distance on lines and plane')
    add('--samples', type=int, default=1, help='samples of images, for the error')
    add('--seeds', action='store_true', help='runs of one label are seeds of one arm')
    add('--radii', type=float, nargs='+', default=DEFAULT_RADII, help='of sharpness')
    arguments.run(parser, argv, curvature, lines)


def lines(result):
    from mmgcp.analysis.variance import lines_of

    for row in result['runs']:
        yield (
            f'{row["label"]}: largest eigenvalue {row["hessian"]["eigenvalues"][0]:.4g} '
            f'(within {row["hessian"]["residuals"][0]:.2g}), trace '
            f'{row["trace"]["trace"]:.4g} +- {row["trace"]["standard_error"]:.2g} '
            '(probes)'
            + (f'; {row["hessian"]["reason"]}' if 'reason' in row['hessian'] else '')
        )
    yield from lines_of(result['arms'])


if __name__ == '__main__':
    run_main(main)

#!/usr/bin/env python
"""Parameters, multiply-adds and activation memory, part by part."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.complexity import complexity

    parser = arguments.parser(f'{__doc__} Several processes share the runs.')
    arguments.add_model_options(parser)
    parser.add_argument(
        '--shape', type=int, nargs=2, metavar=('H', 'W'), help='of a noise image'
    )
    args = parser.parse_args(argv)
    runs = arguments.begin(args)
    result = complexity(
        runs,
        args.out,
        arguments.settings_of(args),
        shape=tuple(args.shape) if args.shape else None,
    )
    lines = [
        f'{row["label"]}: {row["parameters"] / 1e6:.4g} M parameters, '
        f'{row["multiply_adds"] / 1e9:.4g} G multiply-adds, '
        f'{row["activation_bytes"] / 2**20:.4g} MiB kept for the backward pass'
        for row in result['runs']
    ]
    arguments.report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

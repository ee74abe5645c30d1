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
    arguments.run(parser, argv, complexity, lines)


def lines(result):
    for row in result['runs']:
        yield (
            f'{row["label"]}: {row["parameters"] / 1e6:.4g} M parameters, '
            f'{row["multiply_adds"] / 1e9:.4g} G multiply-adds, '
            f'{row["activation_bytes"] / 2**20:.4g} MiB kept for the backward pass'
        )


if __name__ == '__main__':
    run_main(main)

#!/usr/bin/env python
"""Parameters, multiply-adds and activation memory, part by part."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis.arguments import begin, parser, report
    from mmgcp.analysis.complexity import complexity

    args_of = parser(f'{__doc__} Several processes share the runs.')
    add = args_of.add_argument
    add('--shape', type=int, nargs=2, metavar=('H', 'W'), help='of a noise image')
    add('--reduced-channels', type=int, help='in the table of pooling heads')
    add('--device', help='such as cpu or cuda:0 (default: the best)')
    args = args_of.parse_args(argv)
    result = complexity(
        begin(args),
        args.out,
        shape=tuple(args.shape) if args.shape else None,
        reduced_channels=args.reduced_channels,
        seed=args.seed,
        options=args.cfg_options,
        device=args.device,
    )
    lines = [
        f'{row["label"]}: {row["parameters"] / 1e6:.4g} M parameters, '
        f'{row["multiply_adds"] / 1e9:.4g} G multiply-adds, '
        f'{row["activation_bytes"] / 2**20:.4g} MiB kept for the backward pass'
        for row in result['runs']
    ]
    report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

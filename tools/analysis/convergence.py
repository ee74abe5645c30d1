#!/usr/bin/env python
"""Curves over training, matching epoch, area under the curve."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.convergence import convergence

    parser = arguments.parser(
        f'{__doc__} CHECKPOINT tells where the log is: a checkpoint in the work '
        'folder, the folder, or a scalars.json. Runs with one label are seeds. One '
        'process does all.'
    )
    parser.add_argument('--metric', help="defaults to the framework's main one")
    args = parser.parse_args(argv)
    runs = arguments.begin(args)
    result = convergence(runs, args.out, args.metric, args.cfg_options)
    lines = [
        f'{metric}, {label}: final {row["final"]:.4g}, mean over training '
        f'{row["area_under_curve"]:.4g}; reaches '
        + (
            ', '.join(f'{k} at {m["step"]}' for k, m in row['matching'].items())
            or 'no other run to match'
        )
        for metric, rows in result['metrics'].items()
        for label, row in rows.items()
    ]
    arguments.report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

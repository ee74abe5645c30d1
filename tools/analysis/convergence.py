#!/usr/bin/env python
"""Curves over training, matching epoch, area under the curve."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis.arguments import begin, parser, report
    from mmgcp.analysis.convergence import convergence

    args_of = parser(
        f'{__doc__} CHECKPOINT tells where the log is: a checkpoint in the work '
        'folder, the folder, or a scalars.json. Runs with one label are seeds. One '
        'process does all.',
        seed=False,
    )
    args_of.add_argument('--metric', help="defaults to the framework's main one")
    args_of.add_argument('--groups', nargs='+', help='task of each run')
    args = args_of.parse_args(argv)
    result = convergence(
        begin(args), args.out, args.metric, args.groups, args.cfg_options
    )
    lines = [
        f'{group}, {label}: final {row["final"]:.4g}, mean over training '
        f'{row["area_under_curve"]:.4g}; reaches '
        + (
            ', '.join(f'{k} at {m["step"]}' for k, m in row['matching'].items())
            or 'no other run to match'
        )
        for group, rows in result['groups'].items()
        for label, row in rows.items()
    ]
    report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

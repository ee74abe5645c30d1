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
    arguments.run(parser, argv, convergence, lines)


def lines(result):
    for metric, rows in result['metrics'].items():
        for label, row in rows.items():
            reached = [f'{name} at {m["step"]}' for name, m in row['matching'].items()]
            yield (
                f'{metric}, {label}: final {row["final"]:.4g}, mean over training '
                f'{row["area_under_curve"]:.4g}; reaches '
                f'{", ".join(reached) or "no other run to match"}'
            )


if __name__ == '__main__':
    run_main(main)

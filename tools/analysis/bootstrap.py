#!/usr/bin/env python
"""Standard errors of test scores that come from the finite number of test images."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.bootstrap import RESAMPLES, bootstrap

    parser = arguments.parser(
        f'{__doc__} Checkpoints of one label are seeds. Several processes share the '
        'images of each evaluation.'
    )
    arguments.add_model_options(parser)
    parser.add_argument(
        '--resamples',
        type=int,
        default=RESAMPLES,
        help='draws of as many images as the test set has',
    )
    arguments.run(parser, argv, bootstrap, lines)


def lines(result):
    for metric, rows in result['metrics'].items():
        for label, row in rows.items():
            yield (
                f'{label}: {metric} {row["value"]:.4g}, standard error from '
                f'{result["images"]} test images {row["standard_error"]:.2g}'
            )


if __name__ == '__main__':
    run_main(main)

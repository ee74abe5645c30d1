#!/usr/bin/env python
"""Performance under the fifteen corruptions of ImageNet-C."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.robustness import CORRUPTIONS, POSITIONS, robustness
    from mmgcp.datasets.corruption import SEVERITIES

    parser = arguments.parser(
        f'{__doc__} Finished corruptions are not done again. Several processes share '
        'the images of each evaluation.'
    )
    arguments.add_model_options(parser)
    add = parser.add_argument
    add('--corruptions', nargs='+', choices=CORRUPTIONS, default=CORRUPTIONS)
    add('--severities', nargs='+', type=int, choices=SEVERITIES, default=SEVERITIES)
    add(
        '--images',
        type=int,
        help='a fixed sample of the test set, 0 for all of it (default: 100 for a '
        'classifier, 40 otherwise)',
    )
    add('--position', choices=POSITIONS, help='behind loading or in front of packing')
    add('--metric', help="defaults to the framework's main one")
    arguments.run(parser, argv, robustness, lines)


def lines(result):
    for row in result['runs']:
        score = row['scores'][row['metric']]
        mean = 'undefined' if score['mPC'] is None else f'{score["mPC"]:.4g}'
        share = 'undefined' if score['rPC'] is None else f'{score["rPC"]:.3g}'
        yield (
            f'{row["label"]}: {row["metric"]} clean {score["clean"]:.4g}, mPC '
            f'{mean}, rPC {share} ({row["sample"]["images"]} images)'
        )


if __name__ == '__main__':
    run_main(main)

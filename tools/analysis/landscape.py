#!/usr/bin/env python
"""Loss and gradient stability along the gradient of the stem's output."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.landscape import landscape

    parser = arguments.parser(
        f'{__doc__} A checkpoint may be the landscape.json of a LandscapeHook; '
        'several checkpoints under one label make a band over training. Several '
        'processes share the batches.'
    )
    arguments.add_sample_options(parser)
    parser.add_argument(
        '--steps',
        nargs=3,
        type=float,
        metavar=('FIRST', 'LAST', 'NUMBER'),
        help='equally spaced step sizes (default: those published for the network)',
    )
    parser.add_argument(
        '--seeds', action='store_true', help='runs of one label are seeds of one arm'
    )
    parser.add_argument('--stem', help='module whose output is moved')
    arguments.run(parser, argv, landscape, lines)


def lines(result):
    from mmgcp.analysis.variance import lines_of

    for row in result['runs']:
        low, high = row['loss_band']
        yield (
            f'{row["label"]}: loss {low:.4g} to {high:.4g}, effective beta '
            f'{row["effective_beta"]:.4g}'
        )
    yield from lines_of(result['arms'])


if __name__ == '__main__':
    run_main(main)

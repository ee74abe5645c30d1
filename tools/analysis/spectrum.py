#!/usr/bin/env python
"""Spectra and effective rank of the feature covariance, stage by stage."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.spectrum import spectrum

    parser = arguments.parser(f'{__doc__} Several processes share the batches.')
    arguments.add_sample_options(parser, split='test')
    args = parser.parse_args(argv)
    runs = arguments.begin(args)
    result = spectrum(runs, args.out, arguments.settings_of(args))
    lines = [
        f'{row["label"]}, {name}: effective rank {stage["effective_rank"]:.4g} of '
        f'{stage["channels"]}, mean correlation {stage["mean_correlation"]:.3g}'
        for row in result['runs']
        for name, stage in row['stages'].items()
    ]
    arguments.report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

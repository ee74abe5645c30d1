#!/usr/bin/env python
"""Spectra and effective rank of the feature covariance, stage by stage."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis.arguments import (
        add_sample_options,
        begin,
        parser,
        report,
        sample_arguments,
    )
    from mmgcp.analysis.spectrum import spectrum

    args_of = parser(f'{__doc__} Several processes share the batches.')
    add_sample_options(args_of, split='test')
    args_of.add_argument(
        '--per-class', action='store_true', help='also per class, for the last stage'
    )
    args = args_of.parse_args(argv)
    result = spectrum(
        begin(args), args.out, per_class=args.per_class, **sample_arguments(args)
    )
    lines = [
        f'{row["label"]}, {name}: effective rank {stage["effective_rank"]:.4g} of '
        f'{stage["channels"]}, mean correlation {stage["mean_correlation"]:.3g}'
        for row in result['runs']
        for name, stage in row['stages'].items()
    ]
    report(result, args.out, lines)


if __name__ == '__main__':
    run_main(main)

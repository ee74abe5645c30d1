#!/usr/bin/env python
"""Spectra and effective rank of the feature covariance, stage by stage."""

from mmgcp.utils.cli import run_main


def main(argv=None):
    from mmgcp.analysis import arguments
    from mmgcp.analysis.spectrum import spectrum

    parser = arguments.parser(f'{__doc__} Several processes share the batches.')
    arguments.add_sample_options(parser, split='test')
    arguments.run(parser, argv, spectrum, lines)


def lines(result):
    for row in result['runs']:
        for name, stage in row['stages'].items():
            yield (
                f'{row["label"]}, {name}: effective rank '
                f'{stage["effective_rank"]:.4g} of {stage["channels"]}, mean '
                f'correlation {stage["mean_correlation"]:.3g}'
            )


if __name__ == '__main__':
    run_main(main)

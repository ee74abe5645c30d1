#!/usr/bin/env python
"""Write the page of the recorded studies from their records."""

from collections.abc import Sequence
from pathlib import Path

from mmgcp.utils.cli import ArgumentParser, run_main

DOCS = Path(__file__).resolve().parents[1] / 'docs'


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        '--records', type=Path, default=DOCS / 'results', help='folder of the records'
    )
    parser.add_argument(
        '--out', type=Path, default=DOCS / 'results.md', help='page to write'
    )
    args = parser.parse_args(argv)

    from mmgcp.study.record import results_page
    from mmgcp.utils.files import write_text

    write_text(args.out, results_page(args.records))


if __name__ == '__main__':
    run_main(main)

#!/usr/bin/env python
"""Measure speed and memory, always against something in the same process."""

from mmgcp.utils.cli import run_main


def main(argv=None) -> int:
    from benchmarks.cli import main as measure

    return measure(argv)


if __name__ == '__main__':
    run_main(main)

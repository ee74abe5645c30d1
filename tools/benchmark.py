#!/usr/bin/env python
"""Measure speed and memory, always against something in the same process."""

import os

# Threads that spin while they wait stall each other on a shared machine. This has to
# be set before torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mmgcp.benchmark.cli import main

if __name__ == '__main__':
    main()

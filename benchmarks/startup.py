"""What it takes to import the package, each time in a fresh interpreter."""

import subprocess
import sys
from collections.abc import Callable

from .timing import Variant

BASELINE = 'import torch, mmengine'
STATEMENTS = (BASELINE, 'import mmgcp', 'import mmgcp.layers', 'import mmgcp.models')
# `import mmgcp` registers everything by name and imports little.
TARGETS = {'import mmgcp': {'time': 1.2}}


def startup_variants() -> list[Variant]:
    """One variant per import statement."""
    return [
        Variant(text, _fresh(text), BASELINE, targets=TARGETS.get(text, {}))
        for text in STATEMENTS
    ]


def _fresh(statement: str) -> Callable[[], object]:
    def step():
        subprocess.run([sys.executable, '-c', statement], check=True)

    return step

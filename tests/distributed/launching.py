"""Starting ``tools/dist_train.sh`` on two processes of a CPU."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(config: Path, *words: str) -> list[str]:
    """The command line that trains a config on two processes."""
    return [str(ROOT / 'tools/dist_train.sh'), str(config), '2', *words]


def environment(scenes: Path, **others: str) -> dict[str, str]:
    """The environment that finds the scenes; one thread per process."""
    return {
        **os.environ,
        'PYTHON': sys.executable,
        'MMGCP_SCENES': str(scenes),
        'OMP_NUM_THREADS': '1',
        **others,
    }


def train(
    config: Path, scenes: Path, *words: str, **others
) -> subprocess.CompletedProcess:
    """Train to the end; keyword arguments go into the environment."""
    return subprocess.run(
        command(config, *words),
        env=environment(scenes, **others),
        capture_output=True,
        text=True,
        timeout=300,
    )

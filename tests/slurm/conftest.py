"""A Slurm of two nodes, started for these tests and stopped after them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name('cluster.sh')
NEEDED = ('slurmctld', 'slurmd', 'munged', 'srun', 'sbatch')


@pytest.fixture(scope='module')
def slurm(tmp_path_factory):
    """Environment of processes that talk to the cluster, one cluster per file."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f'Slurm is not installed ({", ".join(missing)} not on PATH)')
    if os.geteuid() != 0:
        pytest.skip('slurmd must be started by root')
    # munge refuses a socket below a folder that others may write to.
    folder = tmp_path_factory.mktemp('slurm')
    subprocess.run(['bash', SCRIPT, 'start', folder], check=True)
    # The names of the nodes are no names of machines.
    yield dict(
        os.environ, SLURM_CONF=str(folder / 'slurm.conf'), MASTER_ADDR='127.0.0.1'
    )
    subprocess.run(['bash', SCRIPT, 'stop', folder], check=True)

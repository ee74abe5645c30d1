"""A study of one or two small steps on a real Slurm, as a process that can be killed.

``python driver.py FOLDER RETRIES STEPS.json KEY=VALUE ...``
"""

import json
import sys
from pathlib import Path

from mmgcp.study.progress import Display
from mmgcp.study.resources import Resources
from mmgcp.study.scheduler import Scheduler
from mmgcp.study.slurm import SlurmBackend
from mmgcp.study.step import Step


def make_step(folder, name, kind='pretrain', processes=1, deps=(), command=()):
    """A step whose command gets its work folder as first argument."""
    work_dir = folder / 'steps' / name
    script, *rest = command
    return Step(
        name,
        kind,
        ['python', script, str(work_dir), *rest],
        work_dir / 'out',
        work_dir,
        deps=list(deps),
        processes=processes,
        resume_mark=work_dir / 'last_checkpoint',
    )


if __name__ == '__main__':
    folder, retries, listed, *options = sys.argv[1:]
    folder = Path(folder)
    steps = [make_step(folder, **settings) for settings in json.loads(listed)]
    backend = SlurmBackend(folder, Path.cwd(), Resources({}, options), 4)
    backend.poll_seconds, backend.look_seconds = 0.3, 2.0
    display = Display(steps, 4)
    state = Scheduler(steps, backend, display, int(retries)).run()
    sys.exit(any(value != 'done' for value in state.values()))

"""What the engine costs: ``python -m study.sleeping 1000`` in ``tests``.

Steps of a tenth of a second, two at a time, and the plan of a study of as many steps.
"""

import io
import resource
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from mmgcp.study.config import load_study, select
from mmgcp.study.local import LocalBackend
from mmgcp.study.plan import Planner
from mmgcp.study.progress import Display
from mmgcp.study.scheduler import Scheduler
from mmgcp.study.step import Step, hash_steps

ROOT = Path(__file__).parents[2]
SLEEP, JOBS = 0.1, 2


def overhead(folder, count):
    """Seconds that each of ``count`` steps takes beyond its sleep: by the clock, which
    counts what else the machine does, and of the study's own processor time."""
    steps = []
    for index in range(count):
        work_dir = folder / f'steps/s{index}'
        result = work_dir / 'out'
        command = ['sh', '-c', f'sleep {SLEEP}; touch {result}']
        steps.append(Step(f's{index}', 'data', command, result, work_dir))
    backend = LocalBackend(JOBS, folder, cpus=JOBS)
    backend.poll_seconds = 0.01
    display = Display(steps, JOBS, Console(file=io.StringIO()))
    start, used = time.monotonic(), time.process_time()
    state = Scheduler(steps, backend, display).run()
    assert set(state.values()) == {'done'}
    used = time.process_time() - used
    return JOBS * (time.monotonic() - start) / count - SLEEP, used / count


def planning(folder, count):
    """Steps and seconds of planning the study of scenes with seeds for ``count``."""
    study = load_study(ROOT / 'configs/studies/scenes.py')
    per_seed = len(Planner(select(study, seeds=1), folder, ROOT).plan())
    start = time.monotonic()
    steps = Planner(select(study, seeds=count // per_seed), folder, ROOT).plan()
    hash_steps(steps)
    return len(steps), time.monotonic() - start


if __name__ == '__main__':
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        number, seconds = planning(folder, count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clock, used = overhead(folder, count)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f'planning {number} steps: {seconds:.1f} s')
    print(f'{count} steps: {clock:.3f} s each beyond their sleep, {used:.3f} s of CPU')
    print(f'memory: {before / 1024:.0f} MiB after planning, {grown / 1024:.0f} more')

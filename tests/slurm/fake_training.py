"""Counts to LENGTH, a checkpoint a second; resumes, and dies once after DEATH.

``python fake_training.py FOLDER LENGTH [DEATH] [--resume]``. Several processes count
together. A death of -1 means: write no checkpoint.
"""

import os
import sys
import time
from pathlib import Path

folder, length = Path(sys.argv[1]), int(sys.argv[2])
death = int(sys.argv[3]) if sys.argv[3:4] not in ([], ['--resume']) else 0
mark = folder / 'last_checkpoint'
start = int(mark.read_text()) if '--resume' in sys.argv else 0
several = int(os.environ.get('WORLD_SIZE', '1')) > 1
if several:
    import torch
    from torch import distributed

    distributed.init_process_group('gloo')
first = os.environ.get('RANK', '0') == '0'
if first:
    with open(folder / 'starts', 'a') as file:
        print(start, os.environ['SLURM_JOB_ID'], file=file)
with open(folder / f'node-{os.environ["SLURMD_NODENAME"]}', 'a') as file:
    print(os.getpid(), os.environ['OMP_NUM_THREADS'], file=file)
for count in range(start + 1, length + 1):
    time.sleep(1)
    if several:
        # Over all nodes, every rank takes part once.
        ranks = torch.tensor([distributed.get_rank()])
        distributed.all_reduce(ranks)
        assert ranks == sum(range(distributed.get_world_size()))
    if first and death >= 0:
        mark.write_text(str(count))
    print(count, flush=True)
    if count == death and not start:
        sys.exit('died on purpose')
if first:
    (folder / 'out').write_text(str(length))
if several:
    distributed.barrier()
    sys.stdout.flush()
    os._exit(0)  # threads of gloo may hang, or abort, at the end of a process

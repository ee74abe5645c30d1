"""The loss landscape while training."""

import copy
import time
from pathlib import Path
from typing import cast

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmgcp.registry import HOOKS
from mmgcp.utils.files import read_json, write_json
from mmgcp.utils.random_state import preserved_random_state

from .landscape import DEFAULT_STEPS, measure_batch, merge


@HOOKS.register_module()
class LandscapeHook(Hook):
    """Measure loss and gradient stability every ``interval`` iterations.

    The measure is that of :mod:`mmgcp.analysis.landscape`, with the weights
    before the optimiser's step and on the batch of that step, as in the
    CVPR 2020 code. It runs on a copy of the model and puts every generator of
    random numbers back, so the training result is the same bit for bit. The
    price is memory for the copy and, each time, as many forward and backward
    passes as there are steps (the backward pass stops at the stem); the seconds
    spent are in the record. It computes without autocast. Under a process group
    every process measures its part of the batch.

    Args:
        interval (int): Iterations from one measure to the next. Defaults to
            500, the paper's choice for ResNets.
        steps (tuple): First step size, last one, their number.
        stem (str, optional): Module whose output is moved.
            See :func:`~mmgcp.engine.landscape.stem_module`.
        filename (str): Record in the run's log folder, rewritten after each
            measure; ``tools/analysis/landscape.py`` reads it in place of a
            checkpoint. Resuming continues it.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int = 500,
        steps: tuple[float, float, int] = DEFAULT_STEPS,
        stem: str | None = None,
        filename: str = 'landscape.json',
    ) -> None:
        if interval < 1:
            raise ValueError(f'LandscapeHook: interval={interval}, at least 1')
        self.interval = interval
        # A config read from JSON gives a list.
        self.steps = cast(tuple[float, float, int], tuple(steps))
        self.stem = stem
        self.filename = filename
        self.entries: list[dict] = []

    def before_train(self, runner) -> None:
        """Take up the record of the iterations before a resume."""
        path = self._path(runner)
        self.entries = []
        if runner.iter > 0 and path.is_file():
            kept = read_json(path)['entries']
            self.entries = [e for e in kept if e['iteration'] < runner.iter]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Measure on the batch that the step is about to use."""
        if runner.iter % self.interval:
            return
        start = time.perf_counter()
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        with preserved_random_state():
            measured = measure_batch(
                copy.deepcopy(model),
                data_batch,
                np.linspace(*self.steps).tolist(),
                self.stem,
                seed=runner.iter,
                across_processes=True,
            )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.entries.append(
            {
                'iteration': runner.iter,
                'seconds': time.perf_counter() - start,
                **merge([measured]),
            }
        )
        if is_main_process():
            record = {'steps': self.steps, 'entries': self.entries}
            write_json(self._path(runner), record)

    def _path(self, runner) -> Path:
        return Path(runner.work_dir) / self.filename

"""A whole evaluation with 1 and 2 processes, and where its time goes.

``tools/benchmark.py testing`` starts this module once per number of processes and
round; each of its processes evaluates as ``tools/test.py`` does and writes its times.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmgcp.utils.errors import UserError

from .timing import quartiles

#: Parts of an evaluation, in the order they happen in.
PARTS = ('data', 'model', 'post-processing', 'metric', 'other')
# Methods of heads and models after which raw outputs are boxes, masks or labels.
POST_PROCESSING = ('predict_by_feat', 'postprocess_result', '_get_predictions')
ADVICE = {
    'data': 'more test_dataloader.num_workers or a faster disk will help, '
    'a faster model will not',
}


class PartsHook(Hook):
    """Time the parts of a test loop.

    ``data`` is waiting for the loader and the model's preprocessor; ``other`` is what
    the remaining hooks and the loop itself take.
    """

    # Pictures and logs of other hooks are no waiting for data.
    priority = 'LOWEST'

    def __init__(self, device: str = 'cpu') -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._open: list[str] = []
        self._since = 0.0
        self._device = device

    def _now(self) -> float:
        if self._device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter()

    def enter(self, part: str) -> None:
        """Let time count for this part, and no longer for the one around it."""
        self._count()
        self._open.append(part)

    def leave(self) -> None:
        """Let time count for the part around the current one again."""
        self._count()
        self._open.pop()

    def _count(self) -> None:
        now = self._now()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, part: str, function: Callable) -> Callable:
        """The function, its time counted for a part."""

        def run(*args, **kwargs):
            self.enter(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.leave()

        return run

    def before_test_epoch(self, runner) -> None:
        """Start, with timers around the methods of model and evaluator."""
        model: Any = runner.model
        model.test_step = self.timed('model', model.test_step)
        inner = model.module if is_model_wrapper(model) else model
        preprocessor: Any = inner.data_preprocessor
        preprocessor.forward = self.timed('data', preprocessor.forward)
        for module in inner.modules():
            for name in POST_PROCESSING:
                if hasattr(module, name):
                    method = getattr(module, name)
                    setattr(module, name, self.timed('post-processing', method))
        evaluator = runner.test_loop.evaluator
        for name in ('process', 'evaluate'):
            setattr(evaluator, name, self.timed('metric', getattr(evaluator, name)))
        self.enter('other')
        self.enter('data')

    def before_test_iter(self, runner, batch_idx, data_batch=None) -> None:
        """A batch has come."""
        self.leave()

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """The next batch is asked for."""
        self.enter('data')

    def after_test_epoch(self, runner, metrics=None) -> None:
        """Stop."""
        while self._open:
            self.leave()


def work(config: str, checkpoint: str, launcher: str, out: str, options: str) -> None:
    """Evaluate in this process and write ``OUT/RANK.json``.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint.
        launcher: ``'none'`` or ``'pytorch'``.
        out: Folder of the results.
        options: Overrides of the config by dotted key, as JSON.
    """
    from mmgcp.engine.distributed import leave_group
    from mmgcp.engine.training import build_runner, load_config

    cfg = load_config(config, json.loads(options))
    cfg.launcher, cfg.work_dir = launcher, f'{out}/work'
    cfg.load_from, cfg.resume, cfg.log_level = checkpoint, False, 'WARNING'
    cfg.model.backbone.init_cfg = None
    hook = PartsHook('cuda' if torch.cuda.is_available() else 'cpu')
    runner = build_runner(cfg)
    runner.register_hook(hook)
    metrics = runner.test()
    found = {
        'seconds': hook.seconds,
        'images': len(runner.test_loop.dataloader.dataset),
        'metrics': {key: float(value) for key, value in metrics.items()},
    }
    Path(out, f'{get_rank()}.json').write_text(json.dumps(found))
    leave_group()


def _run(
    config: str, checkpoint: str, options: dict, threads: int, processes: int
) -> list[dict]:
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, '-m']
        if processes > 1:
            command += ['torch.distributed.run', '--standalone', '--nproc-per-node']
            command += [str(processes), '-m']
        launcher = 'pytorch' if processes > 1 else 'none'
        command += ['benchmarks.testing', config, checkpoint, launcher, out]
        command.append(json.dumps(options))
        done = subprocess.run(
            command,
            env={
                **os.environ,
                'OMP_NUM_THREADS': str(threads),
                'PYTHONPATH': os.pathsep.join(filter(None, sys.path)),
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise UserError(
                f'{config}, {checkpoint}: evaluation with {processes} processes '
                f'failed:\n{done.stderr[-3000:]}'
            )
        return [json.loads(path.read_text()) for path in Path(out).glob('*.json')]


def testing_groups(
    args: argparse.Namespace, progress: Callable[[str], Callable[[int, int], None]]
) -> Iterator[tuple[str, list[dict], list[str]]]:
    """Title, rows and remarks for every pair of config and checkpoint.

    Raises:
        UserError: The number of files is odd, one is missing, an evaluation fails, or
            its metrics depend on the number of processes.
    """
    if len(args.runs) % 2:
        raise UserError(f'{args.runs[-1]}: expected pairs of config and checkpoint')
    for path in args.runs:
        if not Path(path).is_file():
            raise UserError(f'{path}: no such file')
    for config, checkpoint in zip(args.runs[::2], args.runs[1::2], strict=True):
        title = f'evaluation, {Path(config).stem}'
        run = partial(_run, config, checkpoint, args.cfg_options or {}, args.threads)
        rows = _rows(args, run, progress(title))
        yield f'{title}, {rows[0]["images"]} images', rows, _remarks(rows)


def _rows(
    args: argparse.Namespace, run: Callable, progress: Callable[[int, int], None]
) -> list[dict]:
    found: dict[int, list[list[dict]]] = {n: [] for n in args.processes}
    for number in range(args.rounds):
        order = args.processes if number % 2 == 0 else args.processes[::-1]
        for processes in order:
            found[processes].append(run(processes=processes))
        progress(number + 1, args.rounds)
    ranks = [rank for rounds in found.values() for each in rounds for rank in each]
    # As text: a metric may be no number, which is not equal to itself.
    if len({json.dumps(rank['metrics'], sort_keys=True) for rank in ranks}) > 1:
        raise UserError(
            'the metrics depend on the number of processes: '
            + '; '.join(str(rounds[0][0]['metrics']) for rounds in found.values())
        )
    # The evaluation has ended when its slowest process has.
    times = {
        n: [max(sum(r['seconds'].values()) for r in ranks) for ranks in rounds]
        for n, rounds in found.items()
    }
    first = args.processes[0]
    rows: list[dict[str, Any]] = []
    for processes, rounds in found.items():
        own = times[processes]
        pairs = zip(own, times[first], strict=True)
        low, middle, high = quartiles([a / b for a, b in pairs])
        seconds = {
            p: sum(r['seconds'][p] for ranks in rounds for r in ranks) for p in PARTS
        }
        total = sum(seconds.values())
        rows.append(
            {
                'name': f'{processes} process' + 'es' * (processes > 1),
                'baseline': f'{first} process' + 'es' * (first > 1),
                'milliseconds': 1e3 * statistics.median(own),
                'best_milliseconds': 1e3 * min(own),
                'ratio': middle,
                'ratio_quartiles': [low, high],
                'rounds': args.rounds,
                'targets': {},
                'images': ranks[0]['images'],
                'images_per_second': ranks[0]['images'] / statistics.median(own),
                'shares': {part: value / total for part, value in seconds.items()},
            }
        )
    return rows


def _remarks(rows: list[dict]) -> list[str]:
    lines = []
    for row in rows:
        part = max(row['shares'], key=row['shares'].get)
        line = f'{row["name"]}: most time goes into {part} ({row["shares"][part]:.0%})'
        lines.append(f'{line}: {ADVICE[part]}' if part in ADVICE else line)
    return lines


if __name__ == '__main__':
    work(*sys.argv[1:])

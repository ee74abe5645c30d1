"""Training and testing any config of mmpretrain, mmdet or mmseg.

``default_scope`` of the config decides which framework runs it.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

from mmgcp import models, weights
from mmgcp.datasets.checking import check_config
from mmgcp.utils.config import framework_of, import_datasets, required
from mmgcp.utils.config import load_config as read_config
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import write_json

from .distributed import join_group
from .runner import GCPRunner
from .tracking import add_tracker

#: Types that are found by their scope only. Left out are a name that mmpretrain has as
#: well, and the old name of DropCov, which a pooling neck takes without scope.
SCOPED = {*models.__all__, *weights.__all__}
SCOPED -= {'GlobalAveragePooling', 'AdaptiveChannelDropout'}


class UsageError(UserError):
    """A config and the options given with it do not fit together."""


def load_config(path: str | os.PathLike, cfg_options: Mapping | None = None) -> Config:
    """Read a config, change it, and check its framework and its types.

    Raises:
        ConfigError: The file is missing or is no config, or its ``default_scope`` is
            not a framework.
        UsageError: A type of this package is written without its scope, or the
            learning rate is not a number.
    """
    cfg = read_config(path, dict(cfg_options or {}))
    framework_of(cfg)
    for name in re.findall(r"'type': '(\w+)'", str(cfg.get('model'))):
        if name in SCOPED:
            raise UsageError(
                f"{path}: model has type='{name}', which is in mmgcp: write "
                f"type='mmgcp.{name}'"
            )
    rate = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('lr', 0.0)
    if not isinstance(rate, int | float):
        raise UsageError(
            f'{path}: optim_wrapper.optimizer.lr={rate!r} is not a number; write it as '
            '0.01 or 1e-4'
        )
    return cfg


def last_checkpoint(work_dir: str | os.PathLike) -> str | None:
    """The newest checkpoint of a training, also when its folder was moved.

    None when the training saved none; a UsageError when the file is not there.
    """
    note = Path(work_dir, 'last_checkpoint')
    if not note.is_file():
        return None
    named = Path(note.read_text().strip())
    for path in (named, Path(work_dir, named.name)):
        if path.is_file():
            return str(path)
    raise UsageError(
        f'{note} names {str(named)!r}, and there is no such checkpoint. Name one with '
        '--resume FILE, or remove the folder to train from the start'
    )


def _set_amp(cfg: Config, dtype: str | None) -> None:
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UsageError(
            f'--amp: optim_wrapper.type={kind!r} has no mixed-precision form; only '
            'OptimWrapper and AmpOptimWrapper have'
        )
    if not torch.cuda.is_available():
        raise UsageError('--amp needs a GPU, and torch sees none. Leave it out')
    dtype = dtype or wrapper.get('dtype') or 'float16'
    if dtype == 'bfloat16' and not torch.cuda.is_bf16_supported():
        raise UsageError(
            f'--amp-dtype bfloat16: {torch.cuda.get_device_name()} does not compute in '
            'it. Use float16'
        )
    wrapper.type, wrapper.dtype = 'AmpOptimWrapper', dtype
    # bfloat16 has the range of float32: a scaled loss would gain nothing.
    wrapper.setdefault('loss_scale', 1.0 if dtype == 'bfloat16' else 'dynamic')


def _set_auto_scale_lr(cfg: Config, config: str | os.PathLike) -> None:
    if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        raise UsageError(
            f'--auto-scale-lr: {config} has no auto_scale_lr.base_batch_size, the '
            'batch size its learning rate is meant for'
        )
    cfg.auto_scale_lr.enable = True


def _set_show_dir(cfg: Config, show_dir: str) -> None:
    folder = os.path.abspath(show_dir)
    hooks = cfg.setdefault('default_hooks', {})
    hook = hooks.setdefault('visualization', {})
    hook.interval = 1
    if cfg.default_scope == 'mmpretrain':
        hook.setdefault('type', 'VisualizationHook')
        hook.update(enable=True, out_dir=folder)
    elif cfg.default_scope == 'mmdet':
        hook.setdefault('type', 'DetVisualizationHook')
        hook.update(draw=True, test_out_dir=folder)
    else:
        hook.setdefault('type', 'SegVisualizationHook')
        hook.update(draw=True)
        cfg.setdefault('visualizer', dict(type='SegLocalVisualizer'))
        cfg.visualizer.update(
            save_dir=folder, vis_backends=[dict(type='LocalVisBackend')]
        )


def build_runner(cfg: Config) -> Runner:
    """Build the Runner of a complete config (``work_dir`` and ``launcher`` set).

    Every training stops at a loss that is not finite (:class:`FiniteLossHook`). A
    config that names its own ``runner_type`` gets that runner.
    """
    import_datasets(cfg.default_scope)
    join_group(cfg.get('launcher', 'none'), cfg.get('env_cfg', {}).get('dist_cfg', {}))
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='mmgcp.FiniteLossHook'),
    ]
    if cfg.get('runner_type') is None:
        return GCPRunner.from_cfg(cfg)
    return RUNNERS.build(cfg)


def train(
    config: str | os.PathLike,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    amp_dtype: str | None = None,
    auto_scale_lr: bool = False,
    cfg_options: Mapping | None = None,
    launcher: str = 'none',
    trust: bool = False,
    test_out: str | None = None,
    track: str | None = None,
) -> nn.Module:
    """Train the model of a config.

    Args:
        work_dir: Folder of logs and checkpoints.
        resume: ``'auto'`` for the last checkpoint in ``work_dir`` (from the start
            when there is none), or the path of a checkpoint.
        amp: Train in mixed precision.
        amp_dtype: ``'float16'`` (with loss scaling) or ``'bfloat16'``;
            ``optim_wrapper.dtype`` of the config, or float16, by default.
        auto_scale_lr: Scale the learning rate to the total batch size.
        cfg_options: Overrides, by dotted key.
        launcher: See :func:`~mmgcp.engine.distributed.join_group`.
        trust: Build every Python object of a checkpoint, not only tensors.
        test_out: JSON file for the metrics of the trained model on the test data; None
            does not evaluate it.
        track: ``'tensorboard'``, ``'wandb'`` or ``'mlflow'``, see :func:`add_tracker`.

    Raises:
        UsageError: An option does not fit the config.
        DataError: A data set is missing or incomplete.
    """
    cfg = load_config(config, cfg_options)
    cfg.launcher, cfg.trust_checkpoint = launcher, trust
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config).stem}'
    add_tracker(cfg, track)
    if amp:
        _set_amp(cfg, amp_dtype)
    elif amp_dtype:
        raise UsageError(f'--amp-dtype {amp_dtype} is for --amp. Add it')
    if auto_scale_lr:
        _set_auto_scale_lr(cfg, config)
    if resume == 'auto':
        cfg.load_from = last_checkpoint(cfg.work_dir)
        cfg.resume = cfg.load_from is not None
    elif resume is not None:
        if not os.path.exists(resume) and '://' not in resume:
            raise UsageError(f'--resume {resume}: no such checkpoint')
        cfg.resume, cfg.load_from = True, resume
    if test_out is not None:
        _check_writable(test_out)
        check_config(cfg, ('test_dataloader',))
    check_config(cfg, ('train_dataloader', 'val_dataloader'))
    runner = build_runner(cfg)
    model = runner.train()
    if test_out is not None:
        _write_metrics(runner.test(), test_out)
    return model


def evaluate(
    config: str | os.PathLike,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    cfg_options: Mapping | None = None,
    launcher: str = 'none',
    trust: bool = False,
    track: str | None = None,
    data: str | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the test data set of a config.

    Other arguments and errors are those of :func:`train`. All processes of a group
    return the same metrics.

    Args:
        out: JSON file for the metrics; the main process writes it atomically.
        show_dir: Folder for pictures of the predictions.
        data: Config whose test data and evaluator take the place of the config's own.
    """
    own = dict(cfg_options or {})
    if data is not None:
        names = [name for name in own if name.startswith('test_')]
        other = read_config(data, {name: own.pop(name) for name in names})
    cfg = load_config(config, own)
    if data is not None:
        for key in ('test_dataloader', 'test_evaluator'):
            cfg[key] = required(other, key)
    cfg.launcher, cfg.trust_checkpoint = launcher, trust
    cfg.work_dir = work_dir or cfg.get('work_dir') or f'work_dirs/{Path(config).stem}'
    add_tracker(cfg, track)
    if not os.path.exists(checkpoint) and '://' not in checkpoint:
        raise UsageError(f'{checkpoint}: no such checkpoint')
    cfg.load_from, cfg.resume = checkpoint, False
    if show_dir is not None:
        _set_show_dir(cfg, show_dir)
    check_config(cfg, ('test_dataloader',))
    if out is not None:
        _check_writable(out)
    metrics = build_runner(cfg).test()
    if out is not None:
        _write_metrics(metrics, out)
    return metrics


def _check_writable(out: str) -> None:
    """Fail before hours of work if their result cannot be written."""
    if is_main_process():
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=Path(out).parent):
            pass


def _write_metrics(metrics: Mapping[str, Any], out: str) -> None:
    if is_main_process():
        write_json(out, {key: float(value) for key, value in metrics.items()})

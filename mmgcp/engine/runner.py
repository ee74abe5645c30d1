"""Training and testing any config of mmpretrain, mmdet or mmseg.

``default_scope`` of the config decides which framework runs it; everything goes
through mmengine's Runner.
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process, master_only
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

from mmgcp.datasets.checking import check_config
from mmgcp.utils.config import FRAMEWORKS
from mmgcp.utils.config import load_config as read_config
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import replacing, write_text

from .distributed import init_cpu_group
from .loading import FillingRunner
from .scopes import check_types
from .sync_bn import revert_sync_bn


class UsageError(UserError):
    """A config and the options given with it do not fit together."""


class GCPRunner(FillingRunner):
    """mmengine's Runner, on a CPU too when there are many processes.

    ``compile_backbone=True`` in a config, or a dict of arguments of
    ``torch.compile``, compiles the forward pass of the backbone alone: heads that
    select regions have shapes that change with every image.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for data parallelism.

        SyncBN needs GPUs and more than one process; elsewhere it becomes BN of
        the same state-dict keys, and one log line says how many layers did.
        """
        self._compile_backbone(model)
        on_cpu = get_device() == 'cpu'
        if not self.distributed or on_cpu:
            where = 'on a CPU' if self.distributed else 'by a single process'
            model = revert_sync_bn(model, where, self.logger)
        if not self.distributed:
            return model.to(get_device())
        if on_cpu and model_wrapper_cfg is None:
            return MMDistributedDataParallel(
                module=model,
                broadcast_buffers=False,
                find_unused_parameters=self.cfg.get('find_unused_parameters', False),
            )
        return super().wrap_model(model_wrapper_cfg, model)

    @master_only
    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Save a checkpoint, as mmengine does; on a local disk it appears whole."""
        elsewhere = '://' in str(out_dir) or any(
            kwargs.get(name) for name in ('backend_args', 'file_client_args')
        )
        if elsewhere:
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        with replacing(os.path.join(out_dir, filename)) as part:
            super().save_checkpoint(str(part.parent), part.name, *args, **kwargs)

    def _compile_backbone(self, model: nn.Module) -> None:
        # The method, not the module: a compiled module has other state-dict keys.
        options = self.cfg.get('compile_backbone')
        if options is None or options is False:
            return
        arguments = {} if options is True else dict(options)
        model.backbone.forward = torch.compile(model.backbone.forward, **arguments)
        self.logger.info(f'backbone compiled with {arguments or "the defaults"}')


def load_config(path: str | os.PathLike, cfg_options: Mapping | None = None) -> Config:
    """Read a config, apply overrides and check that its framework is known.

    Raises:
        ConfigError: the file is missing or is no config.
        UsageError: ``default_scope`` is not a framework's.
    """
    cfg = read_config(path, dict(cfg_options or {}))
    scope = cfg.get('default_scope')
    if scope not in FRAMEWORKS:
        raise UsageError(
            f'{path}: default_scope={scope!r} decides which framework runs the '
            f'config and must be one of {", ".join(FRAMEWORKS)}'
        )
    try:
        check_types(cfg)
    except ValueError as error:
        raise UsageError(f'{path}: {error}') from None
    return cfg


def _work_dir(cfg: Config, config: str | os.PathLike, work_dir: str | None) -> str:
    # Command line, then config, then the name of the config.
    return (
        work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(config).stem)
    )


def _set_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper
    kind = wrapper.get('type', 'OptimWrapper')
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UsageError(
            f'--amp: optim_wrapper.type={kind!r} has no mixed-precision form; only '
            'OptimWrapper and AmpOptimWrapper have'
        )
    if torch.cuda.is_available():
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
        return
    if wrapper.get('dtype', 'bfloat16') != 'bfloat16':
        raise UsageError(
            f'--amp: optim_wrapper.dtype={wrapper.dtype!r} needs a GPU; on a CPU '
            "'bfloat16' is possible"
        )
    wrapper.pop('dtype', None)
    wrapper.pop('loss_scale', None)
    wrapper.type = 'mmgcp.CPUAmpOptimWrapper'


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

    A config that names its own ``runner_type`` gets that runner.
    """
    launcher = cfg.get('launcher', 'none')
    init_cpu_group(launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}))
    if cfg.get('runner_type') is None:
        return GCPRunner.from_cfg(cfg)
    from mmengine.registry import RUNNERS

    return RUNNERS.build(cfg)


def train(
    config: str | os.PathLike,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    cfg_options: Mapping | None = None,
    launcher: str = 'none',
) -> nn.Module:
    """Train the model of a config.

    Args:
        config: path of the config.
        work_dir: folder of logs and checkpoints.
        resume: ``'auto'`` for the last checkpoint in ``work_dir`` (from the start
            when there is none), or the path of a checkpoint.
        amp: train in mixed precision: float16 with loss scaling on a GPU,
            bfloat16 on a CPU, or ``optim_wrapper.dtype`` of the config.
        auto_scale_lr: scale the learning rate to the total batch size.
        cfg_options: overrides, by dotted key.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        UsageError: an option does not fit the config.
        DataError: a data set is missing or incomplete.
    """
    cfg = load_config(config, cfg_options)
    cfg.launcher = launcher
    cfg.work_dir = _work_dir(cfg, config, work_dir)
    if amp:
        _set_amp(cfg)
    if auto_scale_lr:
        _set_auto_scale_lr(cfg, config)
    if resume == 'auto':
        cfg.resume, cfg.load_from = True, None
    elif resume is not None:
        if not os.path.exists(resume) and '://' not in resume:
            raise UsageError(f'--resume {resume}: no such checkpoint')
        cfg.resume, cfg.load_from = True, resume
    check_config(cfg, ('train_dataloader', 'val_dataloader'))
    return build_runner(cfg).train()


def evaluate(
    config: str | os.PathLike,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    cfg_options: Mapping | None = None,
    launcher: str = 'none',
) -> dict[str, Any]:
    """Evaluate a checkpoint on the test data set of a config.

    Args:
        config: path of the config.
        checkpoint: path of the checkpoint.
        work_dir: folder of the log.
        out: JSON file for the metrics; the main process writes it atomically.
        show_dir: folder for pictures of the predictions.
        cfg_options: overrides, by dotted key.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        The metrics. On the other ranks of a process group it holds the same.

    Raises:
        UsageError: there is no such checkpoint, or an option does not fit.
        DataError: the data set is missing or incomplete.
    """
    cfg = load_config(config, cfg_options)
    if not os.path.exists(checkpoint) and '://' not in checkpoint:
        raise UsageError(f'{checkpoint}: no such checkpoint')
    cfg.launcher = launcher
    cfg.work_dir = _work_dir(cfg, config, work_dir)
    cfg.load_from, cfg.resume = checkpoint, False
    # The checkpoint holds every weight; the encoder file need not be here.
    if 'init_cfg' in cfg.get('model', {}).get('backbone', {}):
        cfg.model.backbone.init_cfg = None
    if show_dir is not None:
        _set_show_dir(cfg, show_dir)
    check_config(cfg, ('test_dataloader',))
    if out is not None and is_main_process():
        _check_writable(out)
    metrics = build_runner(cfg).test()
    if out is not None and is_main_process():
        write_metrics(out, metrics)
    return metrics


def _check_writable(path: str | os.PathLike) -> None:
    # An evaluation may take hours, and its figures come at the end.
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f'.{Path(path).name}-'):
        pass


def write_metrics(path: str | os.PathLike, metrics: Mapping) -> None:
    """Write metrics as JSON, atomically; a value that is not finite becomes null."""
    plain = {}
    for key, value in metrics.items():
        number = float(value)
        plain[key] = number if math.isfinite(number) else None
    write_text(path, json.dumps(plain, indent=2) + '\n')

"""Curves of a run in TensorBoard, Weights & Biases or MLflow, by mmengine's backends."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmgcp.utils.errors import UserError

TRACKERS = ('tensorboard', 'wandb', 'mlflow')


class TrackingError(UserError):
    """A tracker is unknown or not installed."""


#: Where a study names the tracker to the commands that it runs.
VARIABLE = 'MMGCP_TRACK'


def check_tracker(track: str) -> str:
    """Return the name of an installed tracker, without the folder of a study.

    Raises:
        TrackingError: It is another name, or the package is not installed.
    """
    name = track.partition(':')[0]
    if name not in TRACKERS:
        raise TrackingError(f'--track {track}: use one of {", ".join(TRACKERS)}')
    if find_spec(name) is None:
        raise TrackingError(f'--track {track}: not installed; run `pip install {name}`')
    return name


def add_tracker(cfg: Config, track: str | None) -> None:
    """Add a tracker to the visualizer of a complete config, beside its own backends.

    ``track`` is ``tensorboard``, ``wandb`` or ``mlflow``. ``NAME:FOLDER`` puts the run
    into the group of the study in that folder, and names the report there. None takes
    what a study left in ``$MMGCP_TRACK``, and does nothing without one.

    Raises:
        TrackingError: As :func:`check_tracker`.
    """
    track = track or os.environ.get(VARIABLE)
    if not track:
        return
    name, study = check_tracker(track), track.partition(':')[2]
    group = Path(study).name or 'mmgcp'
    run = os.path.relpath(cfg.work_dir, study) if study else Path(cfg.work_dir).name
    report = {'report': str(Path(study, 'report.html').absolute())} if study else {}
    backend: dict[str, Any]
    if name == 'tensorboard':
        backend = dict(type='TensorboardVisBackend')
    elif name == 'wandb':
        named: dict[str, Any] = dict(
            project=group, group=Path(run).parts[0], name=run, config=report
        )
        backend = dict(type='WandbVisBackend', init_kwargs=named)
    else:
        store = f'sqlite:///{Path("mlflow.db").absolute()}'  # MLflow's own default
        keys = ('default_scope', 'optim_wrapper', 'train_cfg', 'randomness')
        backend = dict(
            type='MLflowVisBackend',
            exp_name=group,
            run_name=run,
            tags=report or None,
            tracking_uri=os.environ.get('MLFLOW_TRACKING_URI', store),
            # it refuses long values, such as a model
            tracked_config_keys=[key for key in keys if key in cfg],
        )
    cfg.setdefault('visualizer', dict(type='Visualizer'))
    visualizer = cfg.visualizer  # setdefault returns a copy
    own = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    visualizer['vis_backends'] = [*own, backend]

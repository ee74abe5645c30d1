"""``--track`` sends the curves of a run to a tracker, and is asked for by nobody else."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from mmgcp.engine.tracking import TrackingError, add_tracker

CONFIG = Path(__file__).parents[2] / 'configs/pretrain/resnet18-w8-gap_scenes.py'
SHORT = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2')


def losses(work_dir):
    """The losses in the log of a run, by step."""
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    lines = map(json.loads, log.read_text().splitlines())
    return {line['step']: line['loss'] for line in lines if 'loss' in line}


@pytest.fixture
def trained(run_tool, scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def train(track):
        folder = tmp_path / 'study' / 'steps'
        options = ('--work-dir', folder, '--track', track, *SHORT)
        done = run_tool('train', CONFIG, *options, 'default_hooks.logger.interval=1')
        assert done.status == 0, done.err
        return folder

    return train


def test_tensorboard_files(trained):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = trained('tensorboard')
    (events,) = folder.glob('*/vis_data/events.out.tfevents*')
    curves = EventAccumulator(str(events)).Reload()
    found = {event.step: event.value for event in curves.Scalars('loss')}
    assert found == pytest.approx(losses(folder), rel=1e-5)
    assert found


def test_mlflow_store_groups_runs_of_a_study(trained, tmp_path, monkeypatch):
    mlflow = pytest.importorskip('mlflow')
    pytest.importorskip('sqlalchemy')
    store = f'sqlite:///{tmp_path}/runs.db'
    monkeypatch.setenv('MLFLOW_TRACKING_URI', store)
    folder = trained(f'mlflow:{tmp_path / "study"}')
    mlflow.end_run()
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name('study')
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags['mlflow.runName'] == 'steps'
    assert run.data.tags['report'] == str(tmp_path / 'study/report.html')
    assert run.data.params['default_scope'] == 'mmpretrain'
    history = client.get_metric_history(run.info.run_id, 'loss')
    found = {metric.step: metric.value for metric in history}
    assert found == pytest.approx(losses(folder))


def test_without_the_option_nothing_is_added():
    config = Config(dict(visualizer=dict(vis_backends=[dict(type='LocalVisBackend')])))
    before = config.to_dict()
    add_tracker(config, None)
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ('track', 'message'),
    [('aim', 'use one of tensorboard'), ('wandb', 'pip install wandb')],
)
def test_wrong_trackers_are_one_line(track, message, monkeypatch):
    monkeypatch.setattr('mmgcp.engine.tracking.find_spec', lambda name: None)
    with pytest.raises(TrackingError, match=message):
        add_tracker(Config(dict(work_dir='x')), track)


def test_a_study_passes_it_on(monkeypatch):
    monkeypatch.setattr('mmgcp.engine.tracking.find_spec', lambda name: name)
    monkeypatch.setenv('MMGCP_TRACK', 'wandb:work_dirs/studies/scenes')
    work_dir = 'work_dirs/studies/scenes/steps/semseg/gap/seed0'
    config = Config(dict(work_dir=work_dir))
    add_tracker(config, None)
    local, wandb = config.visualizer.vis_backends
    assert local.type == 'LocalVisBackend'
    assert wandb.init_kwargs.project == 'scenes'
    assert wandb.init_kwargs.name == 'steps/semseg/gap/seed0'
    assert wandb.init_kwargs.config.report.endswith('studies/scenes/report.html')

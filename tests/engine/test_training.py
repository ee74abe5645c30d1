"""Training, resuming and testing on tiny scenes, with all three frameworks."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmgcp.datasets.checking import DataError
from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.engine import training as tools
from mmgcp.engine.hooks import NotFiniteError
from mmgcp.engine.metrics import known_metrics
from mmgcp.engine.runner import GCPRunner, ModelConfigError
from mmgcp.utils.config import ConfigError
from mmgcp.weights.errors import CheckpointError, KeyMismatchError

ROOT = Path(__file__).parents[2]
PRETRAIN = ROOT / 'configs/pretrain/resnet18-w8-dropcov_scenes.py'
GAP = ROOT / 'configs/pretrain/resnet18-w8-gap_scenes.py'
DETECT = ROOT / 'configs/detection/mask-rcnn_r18-w8_fpn_scenes.py'
SEGMENT = ROOT / 'configs/segmentation/upernet_r18-w8_scenes.py'
ONE_EPOCH = {
    'train_cfg.max_epochs': 1,
    **dict.fromkeys(['val_cfg', 'val_dataloader', 'val_evaluator']),
}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'scenes'
    spec = ScenesSpec(
        train=8, val=3, test=3, size=64, crops=1, eval_crops=1, crop_size=32, digits=5
    )
    make_scenes(out, spec)
    return out


@pytest.fixture(autouse=True)
def _data(scenes, monkeypatch):
    monkeypatch.setenv('MMGCP_SCENES', str(scenes))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    # Asking the compilers for their versions takes longer than these trainings.
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


def log_of(work_dir: Path) -> str:
    return ''.join(path.read_text() for path in work_dir.glob('*/*.log'))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def test_killed_and_resumed_is_the_run_that_was_not(tmp_path):
    """Every run in a process of its own: what ran before in this one may differ."""
    options = ['train_cfg.max_epochs=3', 'train_dataloader.batch_size=8']
    options.append('train_cfg.val_interval=9')
    if torch.cuda.is_available():
        options.append('randomness.deterministic=True')

    def start(work_dir: Path, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, ROOT / 'tools/train.py', PRETRAIN]
        command += ['--work-dir', work_dir, *arguments, '--cfg-options', *options]
        return subprocess.Popen(
            [str(word) for word in command],
            env={
                **os.environ,
                'PYTHONPATH': str(ROOT),
                'CUBLAS_WORKSPACE_CONFIG': ':4096:8',
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    assert start(tmp_path / 'straight').wait() == 0

    killed = tmp_path / 'killed'
    process = start(killed)
    pointer = killed / 'last_checkpoint'
    while process.poll() is None:
        if pointer.exists() and pointer.read_text().endswith('epoch_1.pth'):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / 'epoch_3.pth').exists()

    assert start(killed, '--resume').wait() == 0
    expected = weights(tmp_path / 'straight/epoch_3.pth')
    found = weights(killed / 'epoch_3.pth')
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name

    def rates(folder: Path) -> dict[int, float]:
        return {
            record['step']: record['lr']
            for path in sorted(folder.glob('*/vis_data/scalars.json'))
            for record in map(json.loads, path.read_text().splitlines())
            if 'lr' in record
        }

    straight = rates(tmp_path / 'straight')
    resumed = rates(killed)
    assert straight.keys() >= {12}
    assert all(straight[step] == lr for step, lr in resumed.items() if step in straight)


def test_segmentation_and_pictures(tmp_path, forget_runners):
    options = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
    tools.train(SEGMENT, str(tmp_path), cfg_options=options)
    lines = [line for line in log_of(tmp_path).splitlines() if 'SyncBN layers' in line]
    assert len(lines) == 1
    assert 'become BN in a single process' in lines[0]
    forget_runners()
    out, pictures = tmp_path / 'metrics.json', tmp_path / 'pictures'
    checkpoint = str(tmp_path / 'epoch_1.pth')
    tools.evaluate(SEGMENT, checkpoint, str(tmp_path), str(out), str(pictures))
    metrics = json.loads(out.read_text())
    assert set(metrics) == set(known_metrics(tools.load_config(SEGMENT).test_evaluator))
    assert 0 <= metrics['mIoU'] <= 100
    assert len(list(pictures.rglob('*.png'))) == 3


@pytest.fixture(scope='module')
def gap_checkpoint(tmp_path_factory):
    from mmgcp.weights.trained_model import load_trained_model

    path = tmp_path_factory.mktemp('gap') / 'gap.pth'
    model = load_trained_model(tools.load_config(GAP), 'none')
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path


def test_a_checkpoint_of_another_model_is_refused(tmp_path, gap_checkpoint):
    path = str(gap_checkpoint)
    message = f'{path}.*resnet18-w8-dropcov_scenes.py.*neck.reduction.conv.weight'
    with pytest.raises(KeyMismatchError, match=message):
        tools.evaluate(PRETRAIN, path, str(tmp_path))
    with pytest.raises(KeyMismatchError, match=message):
        tools.train(PRETRAIN, str(tmp_path), resume=path)


def test_what_a_checkpoint_holds_beyond_the_model_is_no_error(tmp_path, gap_checkpoint):
    content = torch.load(gap_checkpoint, weights_only=True)
    content['state_dict']['neck.reduction.conv.weight'] = torch.zeros(1)
    torch.save(content, tmp_path / 'more.pth')
    gone = dict(type='mmgcp.PretrainedEncoder', checkpoint='gone.pth')
    options = {'model.backbone.init_cfg': gone}  # which a test does not need
    found = [
        tools.evaluate(GAP, str(path), str(tmp_path), cfg_options=options)
        for path in (gap_checkpoint, tmp_path / 'more.pth')
    ]
    assert found[0] == found[1]


def test_fine_tuning_may_start_from_part_of_a_model(tmp_path, gap_checkpoint):
    options = {
        **ONE_EPOCH,
        'load_from': str(gap_checkpoint),
        'train_dataloader.batch_size': 30,
        'optim_wrapper.optimizer.lr': 0.0,
    }
    tools.train(PRETRAIN, str(tmp_path), cfg_options=options)
    start, end = weights(gap_checkpoint), weights(tmp_path / 'epoch_1.pth')
    name = 'backbone.layer1.0.conv1.weight'
    assert torch.equal(start[name], end[name])


@pytest.mark.parametrize('part', ['backbone', 'neck'])
def test_a_compiled_part_keeps_its_keys_and_figures(tmp_path, part):
    found = []
    for compiled in (None, {'backend': 'eager'}):
        options = {'train_dataloader.batch_size': 30, f'compile_{part}': compiled}
        folder = tmp_path / str(bool(compiled))
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        tools.train(PRETRAIN, str(folder), cfg_options=options | ONE_EPOCH)
        graphs = torch._dynamo.utils.counters['stats'].get('unique_graphs', 0)
        assert bool(graphs) == bool(compiled)
        found.append(weights(folder / 'epoch_1.pth'))
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], atol=1e-6), name


def test_channels_last_changes_the_layout_alone(tmp_path):
    models = []
    for last in (False, True):
        cfg = tools.load_config(PRETRAIN, {'channels_last': last})
        cfg.work_dir, cfg.launcher = str(tmp_path / str(last)), 'none'
        models.append(tools.build_runner(cfg).model.cpu().eval())
        models[-1].load_state_dict(models[0].state_dict())
    x = torch.rand(2, 3, 48, 48)
    plain, last = (model.backbone(x)[0] for model in models)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, plain, rtol=1e-3, atol=1e-4)


def test_a_neck_that_is_not_there_is_not_compiled(tmp_path):
    options = {'compile_neck': True}
    with pytest.raises(ModelConfigError, match='the model has no neck'):
        tools.train(SEGMENT, str(tmp_path), cfg_options=options)


def test_detection_and_pictures(tmp_path, forget_runners, capsys):
    options = {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
    tools.train(DETECT, str(tmp_path), cfg_options=options)
    assert len(capsys.readouterr().out.splitlines()) < 100
    forget_runners()
    metrics = tools.evaluate(
        DETECT,
        str(tmp_path / 'epoch_1.pth'),
        str(tmp_path),
        out=str(tmp_path / 'out' / 'm.json'),
        show_dir=str(tmp_path / 'pictures'),
        # Untrained for all practical purposes: keep every box it has.
        cfg_options={'model.test_cfg.rcnn.score_thr': 0.0},
    )
    assert json.loads((tmp_path / 'out/m.json').read_text()).keys() == metrics.keys()
    evaluator = tools.load_config(DETECT).test_evaluator
    assert set(known_metrics(evaluator)) == metrics.keys()
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['m.json']
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 3


def test_learning_rate_for_the_batch(tmp_path):
    options = {
        **ONE_EPOCH,
        'train_dataloader.batch_size': 16,
        'train_dataloader.drop_last': True,
        'param_scheduler': [],
    }
    tools.train(PRETRAIN, str(tmp_path), auto_scale_lr=True, cfg_options=options)
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    # 16 instead of 32 images in a batch: half of 0.002.
    assert saved['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.001)


ENCODER_FILE = {'model.backbone.init_cfg': [dict(type='PretrainedEncoder')]}


@pytest.mark.parametrize(
    ('options', 'arguments', 'message'),
    [
        ({'auto_scale_lr': None}, {'auto_scale_lr': True}, 'base_batch_size'),
        (ENCODER_FILE, {}, r"write type='mmgcp\.PretrainedEncoder'"),
        ({}, {'amp_dtype': 'bfloat16'}, 'is for --amp'),
        pytest.param(
            *({}, {'amp': True, 'amp_dtype': 'bfloat16'}, '--amp needs a GPU'),
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU'),
        ),
    ],
)
def test_usage_that_cannot_work(tmp_path, options, arguments, message):
    with pytest.raises(tools.UsageError, match=message):
        tools.train(PRETRAIN, str(tmp_path), cfg_options=options, **arguments)


@pytest.mark.parametrize(
    ('dtype', 'scale'), [('float16', 'dynamic'), ('bfloat16', 1.0)]
)
def test_mixed_precision_scales_the_loss_of_float16(monkeypatch, dtype, scale):
    cfg = tools.load_config(PRETRAIN)
    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, 'is_available', lambda: True)
        patched.setattr(torch.cuda, 'is_bf16_supported', lambda: True)
        tools._set_amp(cfg, dtype)
    wrapper = cfg.optim_wrapper
    assert wrapper.type == 'AmpOptimWrapper'
    assert (wrapper.dtype, wrapper.loss_scale) == (dtype, scale)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


@pytest.mark.parametrize(
    ('key', 'legacy'), [('meta', False), ('optimizer', True)], ids=['zip', 'legacy']
)
def test_nothing_in_a_checkpoint_runs(key, legacy, tmp_path, gap_checkpoint):
    content = torch.load(gap_checkpoint, weights_only=True)
    content[key] = {'payload': Payload(tmp_path / 'ran')}
    path = tmp_path / 'checkpoint.pth'
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    work = tmp_path / 'work'
    work.mkdir()
    (work / 'last_checkpoint').write_text(str(path))
    load_from = {'load_from': str(path), 'train_cfg.max_epochs': 1}
    for start in (
        lambda: tools.evaluate(GAP, str(path), str(work)),
        lambda: tools.train(GAP, str(work), resume=str(path)),
        lambda: tools.train(GAP, str(work), resume='auto'),
        lambda: tools.train(GAP, str(work), cfg_options=load_from),
    ):
        with pytest.raises(CheckpointError, match='checkpoint.pth'):
            start()
        assert not (tmp_path / 'ran').exists()


def test_a_training_stops_at_a_loss_that_is_not_finite(tmp_path):
    options = {
        'train_cfg.max_epochs': 3,
        'optim_wrapper.optimizer.lr': 1e30,
        'param_scheduler': [],
    }
    with pytest.raises(NotFiniteError, match='iteration'):
        tools.train(GAP, str(tmp_path), cfg_options=options)
    for path in tmp_path.glob('*.pth'):
        assert all(value.isfinite().all() for value in weights(path).values())


def test_a_moved_folder_is_resumed(tmp_path):
    (tmp_path / 'epoch_3.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_3.pth')
    assert tools.last_checkpoint(tmp_path) == str(tmp_path / 'epoch_3.pth')
    for text in ('', '/gone/epoch_4.pth'):
        (tmp_path / 'last_checkpoint').write_text(text)
        with pytest.raises(tools.UsageError, match='last_checkpoint names'):
            tools.last_checkpoint(tmp_path)


def test_missing_data_is_found_before_the_model_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv('MMGCP_SCENES', str(tmp_path / 'scenes'))

    def build(*args, **kwargs):
        raise AssertionError('the model was built')

    monkeypatch.setattr(GCPRunner, 'build_model', build)
    with pytest.raises(DataError) as caught:
        tools.train(DETECT, str(tmp_path / 'work'))
    message = str(caught.value)
    assert str(tmp_path / 'scenes/detection') in message
    assert f'python tools/make_scenes.py {tmp_path / "scenes"}' in message


def test_unknown_framework(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("default_scope = 'mmgcp'\n")
    with pytest.raises(ConfigError, match="default_scope='mmgcp'"):
        tools.train(config, str(tmp_path / 'work'))
    # Over an inherited config, in a tool of the frameworks:
    cfg = tools.load_config(DETECT)
    cfg.update(default_scope='mmgcp', work_dir=str(tmp_path / 'work'))
    with pytest.raises(KeyError, match='hides what the frameworks register'):
        Runner.from_cfg(cfg)


def test_encoders_of_one_seed_start_equal(tmp_path):
    """Whatever stands behind the encoder, and whatever it draws."""
    started = {}
    for config, seed in ((GAP, 0), (PRETRAIN, 0), (GAP, 1)):
        cfg = tools.load_config(config, {'randomness': dict(seed=seed)})
        cfg.work_dir, cfg.launcher = str(tmp_path / f'{config.stem}-{seed}'), 'none'
        runner = tools.build_runner(cfg)
        runner.register_hook(StopBeforeTraining())
        with pytest.raises(StopIteration):
            runner.train()
        started[config, seed] = runner.model.backbone.state_dict()
        order = [batch['inputs'][0].sum().item() for batch in runner.train_dataloader]
        started[config, seed]['order'] = torch.tensor(order)
    gap, dropcov = started[GAP, 0], started[PRETRAIN, 0]
    assert all(torch.equal(value, dropcov[name]) for name, value in gap.items())
    other = started[GAP, 1]
    assert not torch.equal(gap['conv1.weight'], other['conv1.weight'])
    assert not torch.equal(gap['order'], other['order'])


class StopBeforeTraining(Hook):
    def before_train(self, runner):
        raise StopIteration

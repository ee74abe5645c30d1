"""Real gloo groups of two processes against one process."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip('sklearn')
pytest.importorskip('mmcv.ops')
pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch

from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.engine.distributed import join_group

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

sys.path.insert(0, str(HERE))
import group_work  # noqa: E402

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available(), reason='tests of process groups on a CPU'
)


def scenes_of(folder: Path, test: int) -> Path:
    spec = ScenesSpec(
        train=1, val=1, test=test, size=96, crops=1, eval_crops=1, digits=5
    )
    make_scenes(folder, spec)
    return folder


def launch(folder: Path, *words: str | Path, **environment):
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--standalone',
            '--nproc-per-node',
            '2',
            str(HERE / 'group_work.py'),
            str(folder),
            *map(str, words),
        ],
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'OMP_NUM_THREADS': '1',
            'OMP_WAIT_POLICY': 'PASSIVE',
            **environment,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=570,
    )


def alone(folder: Path, monkeypatch) -> dict:
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    return group_work.evaluation(folder, 'none')


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Two processes, 7 scenes: not divisible by 2, nor by the batch of 2; and 1 scene."""
    base = tmp_path_factory.mktemp('pair')
    data, one = scenes_of(base / 'scenes', 7), scenes_of(base / 'one', 1)
    tasks = 'evaluation,training,rates,uneven'
    done = launch(base / 'two', tasks, one, MMGCP_SCENES=str(data))
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [base / f'two/rank{rank}.json' for rank in (0, 1)]
    return data, one, [json.loads(path.read_text()) for path in ranks]


def test_evaluation_over_two_processes(pair, tmp_path, monkeypatch):
    data, _, ranks = pair
    monkeypatch.setenv('MMGCP_SCENES', str(data))
    expected = alone(tmp_path / 'one', monkeypatch)
    assert 0.05 < expected['det']['coco/bbox_mAP'] < 0.95
    assert 0.05 < expected['det']['coco/segm_mAP'] < 0.95
    assert 5 < expected['seg']['mIoU'] < 95
    assert [rank['evaluation'] for rank in ranks] == [expected, expected]


def test_a_process_without_a_sample(pair, tmp_path, monkeypatch):
    _, data, ranks = pair
    monkeypatch.setenv('MMGCP_SCENES', str(data))
    expected = alone(tmp_path / 'one', monkeypatch)
    for rank in ranks:
        assert rank['padded'] == rank['uneven'] == expected


def test_training_equals_the_summed_batch(pair):
    *_, ranks = pair
    expected = torch.tensor(group_work.training('none')['weights'])
    for rank in ranks:
        found = torch.tensor(rank['training']['weights'])
        # float32: the sum over a batch in another order, three steps.
        assert torch.allclose(found, expected, rtol=0, atol=2e-6)
    assert ranks[0]['training'] == ranks[1]['training']


def test_dropout_rates_of_ranks(pair):
    *_, (first, second) = pair
    own = [rank['rates']['False'] for rank in (first, second)]
    shared = [rank['rates']['True'] for rank in (first, second)]
    assert own[0] != own[1]
    assert all(0 < rate < 1 for rate in own)
    assert shared[0] == shared[1]
    assert min(own) < shared[0] < max(own)


def command(config: Path, *words: str) -> list[str]:
    """The command line that trains a config on two processes."""
    return [str(ROOT / 'tools/dist_train.sh'), str(config), '2', *words]


def environment(scenes: Path) -> dict[str, str]:
    names = {'PYTHON': sys.executable, 'MMGCP_SCENES': str(scenes)}
    return {**os.environ, **names, 'OMP_NUM_THREADS': '1'}


HOOK = """
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class FailingHook(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if get_rank() == 1:
            raise RuntimeError('the reason of rank 1')
"""


FAILING = """
_base_ = {base!r}
custom_imports = dict(imports=['mmgcp', 'failing'], allow_failed_imports=False)
default_hooks = dict(failing=dict(type='FailingHook'))
train_dataloader = dict(batch_size=2)
"""


def test_a_dead_rank_ends_the_others_and_is_named(tmp_path):
    """Rank 1 fails after the first step; rank 0 waits for it in the second."""
    (tmp_path / 'failing.py').write_text(HOOK)
    config = tmp_path / 'config.py'
    base = ROOT / 'configs/pretrain/resnet18-w8-gap_scenes.py'
    config.write_text(FAILING.format(base=str(base)))
    start = time.monotonic()
    variables = environment(scenes_of(tmp_path / 'scenes', 1))
    done = subprocess.run(
        command(config, '--work-dir', str(tmp_path / 'work')),
        env={**variables, 'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    # torchrun looks at its processes every 0.1 s and gives them 30 s to end.
    assert time.monotonic() - start < 120
    assert done.returncode != 0
    said = 'RuntimeError: the reason of rank 1'
    assert said in done.stderr, done.stderr[-5000:]
    assert 'in after_train_iter' in done.stderr
    # The end of each was its own, and no thread of torch aborted it.
    assert 'terminate called' not in done.stderr


def rank_process(rank: int, work: Path) -> int | None:
    for process in Path('/proc').glob('[0-9]*'):
        try:
            environment = (process / 'environ').read_bytes().split(b'\0')
            command = (process / 'cmdline').read_bytes()
        except OSError:
            continue
        if f'RANK={rank}'.encode() in environment and str(work).encode() in command:
            return int(process.name)
    return None


def test_ctrl_c_is_one_line(tmp_path):
    """The terminal sends the signal to the whole group, once."""
    data, log = scenes_of(tmp_path / 'scenes', 1), tmp_path / 'log'
    config = ROOT / 'configs/pretrain/resnet18-w8-gap_scenes.py'
    options = ['train_cfg.max_epochs=1000', 'train_dataloader.batch_size=5']
    options += ['default_hooks.checkpoint.interval=1000']
    words = command(
        config, *('--work-dir', str(tmp_path / 'w'), '--cfg-options', *options)
    )
    with log.open('w') as file:
        process = subprocess.Popen(
            words,
            env=environment(data),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and 'Epoch(train)' not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        before = log.read_text()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 130, log.read_text()
    after = log.read_text().removeprefix(before).splitlines()
    said = f'dist_train.sh: interrupted. Go on with: {shlex.join(words)} --resume'
    assert [line for line in after if 'Epoch(train)' not in line] == [said]


@pytest.mark.skipif(not Path('/proc/self/environ').exists(), reason='needs Linux')
def test_resume_after_one_rank_was_killed(tmp_path):
    data, work = scenes_of(tmp_path / 'scenes', 1), tmp_path / 'work'
    config = ROOT / 'configs/pretrain/resnet18-w8-dropcov_scenes.py'
    options = ['train_cfg.max_epochs=4', 'train_dataloader.batch_size=5']
    options = ['--work-dir', str(work), '--resume', '--cfg-options', *options]
    words, log = command(config, *options), tmp_path / 'log'
    with log.open('w') as file:
        first = subprocess.Popen(
            words, env=environment(data), stdout=file, stderr=file, cwd=tmp_path
        )
        while first.poll() is None and not (work / 'last_checkpoint').exists():
            time.sleep(0.01)
        victim = rank_process(1, work)
        assert victim is not None, log.read_text()[-3000:]
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        assert first.wait(timeout=300) != 0
    # torchrun notices within a second and gives the others 30 s to end.
    assert time.monotonic() - killed < 90
    assert 'SIGKILL' in log.read_text()
    assert not (work / 'epoch_4.pth').exists()

    second = subprocess.run(
        words, env=environment(data), capture_output=True, text=True, cwd=tmp_path
    )
    assert second.returncode == 0, second.stderr[-3000:]
    assert (work / 'epoch_4.pth').exists()
    assert 'resumed epoch: ' in second.stdout + second.stderr


def test_a_group_on_gpus_has_the_limit_of_the_config(monkeypatch):
    found = {}
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr(
        'mmengine.dist.init_dist', lambda launcher, **kwargs: found.update(kwargs)
    )
    join_group('pytorch', dict(backend='nccl', timeout=7200))
    assert found == dict(backend='nccl', timeout=7200)

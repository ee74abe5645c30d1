"""Every command, used wrongly: one message, a status, nothing half-written.

One row of the table is one mistake. The commands run in this process, through the
same ``run_main`` that the command line goes through.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

from .conftest import CONFIGS, ROOT, TOOLS

COMMANDS = sorted(
    path.relative_to(TOOLS).with_suffix('').as_posix() for path in TOOLS.rglob('*.py')
)
# The set-up runs before there is an environment: standard library only, no wrapper.
WRAPPED = [name for name in COMMANDS if name not in ('setup_env', 'dist_run')]


def files_of(folder):
    """Files and their sizes, without the logs that a training run begins with."""
    return {
        path: path.stat().st_size
        for path in folder.rglob('*')
        if path.is_file() and 'work_dirs' not in path.parts
    }


@pytest.fixture
def place(tmp_path, monkeypatch, scenes, checkpoint_of):
    """A folder to work in, and what the rows of the table may name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.txt').write_text('not what it seems')
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    (tmp_path / 'no_model.py').write_text("default_scope = 'mmdet'\n")
    (tmp_path / 'no_scope.py').write_text("model = dict(type='X')\n")
    (tmp_path / 'garbage.pth').write_bytes(b'\x80' + b'garbage' * 100)
    (tmp_path / 'page.pth').write_text('<!DOCTYPE html><html>quota exceeded</html>')
    torch.save({'other': torch.ones(1)}, tmp_path / 'other.pth')
    torch.save({'meta': print}, tmp_path / 'payload.pth')
    whole = checkpoint_of('gap').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    vis_data = tmp_path / 'log' / '20260101_000000' / 'vis_data'
    vis_data.mkdir(parents=True)
    lines = [json.dumps({'accuracy/top1': 10.0 * i, 'step': i}) for i in (1, 2)]
    (vis_data / 'scalars.json').write_text('\n'.join(lines))
    source = scenes / 'detection/annotations/instances_train.json'
    content = json.loads(source.read_text())
    content['images'], content['annotations'] = [], []
    (tmp_path / 'no_images.json').write_text(json.dumps(content))
    return {
        'tmp': tmp_path,
        'scenes': scenes,
        'picture': scenes / 'segmentation/images/test/000000.png',
        'det': CONFIGS['detector'],
        'seg': CONFIGS['segmentor'],
        'gap': CONFIGS['gap'],
        'cls': CONFIGS['classifier'],
        'study': ROOT / 'configs/studies/scenes.py',
        'gap_pth': checkpoint_of('gap'),
        'seg_pth': checkpoint_of('segmentor'),
        'log': tmp_path / 'log',
    }


def check(done, before, folder, name, expected, status=1):
    assert done.status == status, done.err
    assert 'Traceback' not in done.err
    # what libraries log goes to stderr as well: the message is its end
    message = done.err[done.err.rindex(f'{name.rpartition("/")[2]}.py: ') :]
    for part in expected:
        assert part in message, message
    assert len(message) < 2000
    assert files_of(folder) == before


#: What writes files into {out}, or below it.
WRITERS = [
    ('predict', '{picture} {seg} none --out {out}/x'),
    ('browse_data', '{det} --out {out}/x --count 1'),
    ('export_onnx', '{gap} none {out}/o.onnx --size 48 48'),
    ('publish_checkpoint', '{gap_pth} {out}/o.pth'),
    ('convert_checkpoint', '{gap_pth} {out}/o.pth'),
    ('make_scenes', '{out}/scenes --train 1 --val 1 --test 1 --digits 5'),
    ('analysis/feature_maps', '{seg} none --image {picture} --out {out}/x'),
]
# (command, arguments, what the message has to name)
TABLE = {
    'missing file': [
        ('train', '{tmp}/gone.py', ['gone.py: no such config']),
        ('test', '{det} gone.pth', ['gone.pth', 'no such checkpoint']),
        ('train', '{det} --resume gone.pth', ['--resume gone.pth']),
        (
            'study',
            '{study} --cfg-options encoders.gap.pretrain=gone.py',
            ['gone.py'],
        ),
        ('analysis/convergence', '{gap} empty --out o', ['empty', 'scalars.json']),
        ('analysis/landscape', 'gone.py none --out o', ['gone.py']),
        ('analysis/preconditioner', '{det} gone.pth --out o', ['gone.pth']),
        ('analysis/robustness', '{det} gone.pth --out o', ['gone.pth']),
        ('analysis/curvature', '{det} --out o', ['CONFIG CHECKPOINT']),
        ('study', 'gone.py', ['gone.py']),
        ('convert_checkpoint', 'gone.pth out.pth', ['gone.pth: no such checkpoint']),
        ('publish_checkpoint', 'gone.pth', ['gone.pth: no such checkpoint']),
        ('export_onnx', '{gap} gone.pth o.onnx --size 48 48', ['gone.pth']),
        ('predict', 'gone.png {seg} none', ['gone.png: no such picture']),
        ('predict', '{picture} {seg} gone.pth', ['gone.pth: no such checkpoint']),
        (
            'browse_data',
            '{det} --cfg-options train_dataloader.dataset.data_root=gone/',
            ['gone', 'data_root'],
        ),
        (
            'analysis/feature_maps',
            '{seg} none --image gone.png --out o',
            ['gone.png: no such picture'],
        ),
        ('check_data', 'coco gone', ['gone']),
        ('check_data', 'coco gone --workers 0', ['--workers 0: at least 1']),
        ('make_subset', 'coco gone', ['gone']),
    ],
    'wrong suffix or content': [
        ('train', 'text.txt', ['text.txt', '.py', '.txt']),
        ('train', 'broken.py', ['broken.py cannot be read as a config']),
        ('train', 'no_scope.py', ['no_scope.py', 'default_scope']),
        ('train', 'empty', ['empty is a folder']),
        ('export_onnx', 'no_model.py none o.onnx', ["the key 'model' is missing"]),
        ('export_onnx', '{gap} none model.pb', ['model.pb: end the name in .onnx']),
        ('predict', '{picture} {seg_pth} {seg}', ["not in '.pth'", 'the checkpoint?']),
        ('predict', '{picture} {seg}', ['CONFIG CHECKPOINT']),
        ('predict', 'text.txt {seg} none', ['text.txt cannot be read as a picture']),
        ('predict', '{picture} {seg} {gap_pth}', ['does not fit']),
        ('convert_checkpoint', 'page.pth out.pth', ['page.pth is a web page']),
        ('convert_checkpoint', 'cut.pth out.pth', ['cut.pth is truncated']),
        ('publish_checkpoint', '{gap_pth} name.txt', ['name.txt: end the name']),
        ('test', '{gap} cut.pth', ['cut.pth']),
        ('test', '{gap} garbage.pth', ['garbage.pth']),
        ('test', '{seg} {gap_pth}', ['does not fit']),
        ('train', '{gap} --resume cut.pth', ['cut.pth is truncated']),
        ('study', 'broken.py', ['broken.py']),
        ('study', 'no_model.py', ['no_model.py']),
        ('train', '{gap} --cfg-options load_from=garbage.pth', ['garbage.pth cannot']),
        ('train', '{gap} --cfg-options load_from=other.pth', ['other.pth does not']),
        ('analysis/spectrum', '{gap} cut.pth --out o', ['cut.pth is truncated']),
        ('analysis/spectrum', '{gap} text.txt --out o', ['text.txt cannot be read']),
        ('analysis/convergence', '{gap} text.txt --out o', ['text.txt: no *']),
        ('analysis/robustness', '{gap} payload.pth --out o', ['payload.pth needs']),
        ('analysis/curvature', '{seg} {gap_pth} --out o', ['does not fit']),
    ],
    'wrong value': [
        ('predict', '{picture} {seg} none --labels a b', ['2 labels for 1 runs']),
        ('predict', '{picture} {seg} none --device cuda:99', ['cuda:99', 'cpu']),
        ('predict', '{picture} {seg} none --device gpu', ['--device gpu']),
        (
            'analysis/feature_maps',
            '{seg} none --image {picture} --out o --target x',
            ['--target x', '0, 1, 2'],
        ),
        (
            'analysis/feature_maps',
            '{seg} none --image {picture} --out o --channels 999',
            ['--channels 999', '0 to 7'],
        ),
        ('browse_data', '{det} --count 0', ['--count']),
        ('train', '{gap} --cfg-options model.backbone.depth=19', ['19']),
        ('train', '{gap} --cfg-options model.head.in_channels=99', ['in_channels=64']),
        ('train', '{gap} --cfg-options optim_wrapper.optimizer.lr=abc', ["lr='abc'"]),
        ('train', '{gap} --cfg-options default_scope=mmgcp', ["default_scope='mmgcp'"]),
        (
            'train',
            '{det} --cfg-options model.backbone.type=GCPResNet',
            ["write type='mmgcp.GCPResNet'"],
        ),
        ('train', '{det} --cfg-options model.backbone.type=Gone', ['Gone']),
        ('train', '{seg} --auto-scale-lr --resume gone', ['gone']),
        ('make_scenes', 'out --train 0', ['train=0']),
        ('study', '{study} --encoders gone', ['gone']),
        ('study', '{study} --analyses gone', ['gone']),
        ('study', '{study} --jobs 0', ['--jobs 0']),
        ('study', '{study} --seeds 0', ['--seeds 0']),
        ('study', '{study} --slurm gpu', ['--slurm gpu', 'KEY=VALUE']),
        ('train', '{gap} --launcher pytorch', ['--launcher pytorch', 'torchrun']),
        ('analysis/spectrum', '{gap} none --out o --images 0', ['images']),
        ('make_subset', 'coco {tmp} --percent 0', ['instances_train2017.json']),
    ],
    'empty data set': [
        ('predict', 'empty {seg} none', ['empty: no picture']),
        (
            'browse_data',
            '{det} --cfg-options train_dataloader.dataset.ann_file={tmp}/no_images.json',
            ['no_images.json'],
        ),
        (
            'train',
            '{det} --cfg-options train_dataloader.dataset.ann_file={tmp}/no_images.json',
            ['no_images.json'],
        ),
        ('check_data', 'coco empty', ['empty']),
    ],
    # Nobody, root included, can make files in /sys.
    'unwritable folder': [
        *(
            (command, line.replace('{out}', '/sys'), ['/sys'])
            for command, line in WRITERS
        ),
        ('analysis/complexity', '{gap} none --shape 48 48 --out /sys/x', ['/sys/x']),
        ('train', '{gap} --work-dir /sys/x', ['/sys/x']),
        ('study', '{study} --work-dir /sys/x', ['/sys/x']),
        ('test', '{gap} {gap_pth} --out /sys/m.json', ['/sys']),
        ('analysis/convergence', '{gap} {log} --out /sys/x', ['/sys/x']),
    ],
}
ROWS = [
    pytest.param(*row, id=f'{mistake}: {row[0]} {row[1]}')
    for mistake, rows in TABLE.items()
    for row in rows
]


@pytest.mark.parametrize(('command', 'line', 'expected'), ROWS)
def test_one_readable_message(command, line, expected, place, run_tool):
    before = files_of(place['tmp'])
    done = run_tool(command, *line.format(**place).split())
    if command == 'check_data':
        # its findings are its output, and a folder that is not there is one
        assert done.status == 1
        assert 'Traceback' not in done.err
        assert expected[0] in done.out + done.err
        return
    check(done, before, place['tmp'], command, expected)


@pytest.mark.parametrize('command', WRAPPED)
def test_unknown_option(command, run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert '--debug' in run_tool(command, '--help').out
    done = run_tool(command, '--no-such-option')
    assert done.status == 2
    assert 'error: ' in done.err
    assert 'Traceback' not in done.err
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def disk_of(size):
    """Files end after ``size`` bytes, as they do on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(('command', 'line'), WRITERS)
def test_full_disk(command, line, place, run_tool):
    before = files_of(place['tmp'])
    arguments = line.format(**place, out=place['tmp']).split()
    with disk_of(6000):  # of a config mmengine writes a copy, which has to fit
        done = run_tool(command, *arguments)
    expected = ['File too large', str(place['tmp'])]
    check(done, before, place['tmp'], command, expected)


def test_ctrl_c_on_a_real_process(place, tmp_path):
    """The signal of the keyboard, sent while a training is at work."""
    log = tmp_path / 'output.txt'
    words = [place['gap'], '--work-dir', 'w', '--cfg-options']
    words += ['train_cfg.max_epochs=1000', 'default_hooks.logger.interval=1']
    with open(log, 'wb') as output:
        process = subprocess.Popen(
            [sys.executable, TOOLS / 'train.py', *words],
            cwd=tmp_path,
            stdout=output,
            stderr=output,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        start = time.monotonic()
        while process.poll() is None and 'Epoch(train)' not in log.read_text():
            assert time.monotonic() - start < 120, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            status = process.wait(60)
        finally:
            process.kill()
    printed = log.read_text()
    assert status == 130, printed
    assert 'train.py' in printed[printed.index('interrupted. ') :]
    assert printed.endswith('--resume\n')
    assert 'OneDL' not in printed
    assert 'env variable' not in printed


def test_output_is_short_unless_asked(place, run_tool):
    train = ['train', place['gap'], '--cfg-options', 'load_from=garbage.pth']
    assert 'Hooks will be' not in run_tool(*train).out
    assert 'Hooks will be' in run_tool(*train, '--debug').out


def test_interrupt_while_writing(place, run_tool, monkeypatch):
    def write_half(content, file):
        file.write(b'half')
        raise KeyboardInterrupt

    before = files_of(place['tmp'])
    monkeypatch.setattr(torch, 'save', write_half)
    done = run_tool('publish_checkpoint', place['gap_pth'], 'o.pth')
    assert done.status == 130
    assert files_of(place['tmp']) == before

"""The measuring itself, and every kind of measurement on the smallest of inputs."""

import json
import os
import re
import shlex
import time
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from benchmarks import __main__ as command
from benchmarks import timing
from benchmarks.pooling import pooling_variants
from benchmarks.report import gpu_state, table
from mmgcp.registry import MODELS

ROOT = Path(__file__).parents[2]
DETECTOR = 'configs/detection/mask-rcnn_r18-w8_fpn_scenes.py'
SEGMENTOR = 'configs/segmentation/fpn_r18-w8_scenes.py'
# What docs/performance.md promises: time of the root over that of the published code.
TARGETS = {
    (32, 256, 14, 14): 0.31,
    (32, 128, 14, 14): 0.50,
    (8, 256, 7, 7): 0.055,
}


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Run the command with few rounds and read what it wrote."""
    monkeypatch.chdir(ROOT)

    def run(words):
        out = tmp_path / 'out.json'
        quick = '--rounds 1 --warmup 0 --threads 1 --json'
        command.main([*words.split(), *quick.split(), str(out)])
        return json.loads(out.read_text())

    return run


def names(group):
    return [row['name'] for row in group['rows']]


@pytest.mark.slow
@pytest.mark.skipif(
    'MMGCP_TEST_SPEED' not in os.environ,
    reason='needs a quiet machine: set MMGCP_TEST_SPEED=1',
)
@pytest.mark.parametrize('shape', TARGETS, ids=str)
def test_the_root_takes_its_share_of_the_published_time(shape, monkeypatch):
    # Seconds of one thread: other processes of the machine count little.
    monkeypatch.setattr(time, 'perf_counter', time.process_time)
    torch.set_num_threads(1)
    variants = [
        variant
        for variant in pooling_variants(shape)
        if variant.name in ('isqrt official', 'isqrt')
    ]
    rows = timing.measure(variants, rounds=5, warmup=1, memory=False)
    assert rows[1]['ratio'] <= TARGETS[shape]


def test_ratios_are_taken_within_a_round(monkeypatch):
    """A machine that slows down by half in every round changes no ratio."""
    spent = {'a': 1.0, 'b': 0.25}
    calls = []

    def clock(device):
        def seconds(step):
            name = step()
            calls.append(name)
            return spent[name] * 1.5 ** (len(calls) // 2)

        return seconds

    monkeypatch.setattr(timing, 'clock', clock)
    variants = [
        timing.Variant('a', lambda: 'a', 'a', images=2),
        timing.Variant('b', lambda: 'b', 'a'),
    ]
    rows = timing.measure(variants, rounds=3, warmup=1, memory=False)
    assert calls == ['b', 'a', 'a', 'b', 'b', 'a', 'a', 'b']
    assert [r['rounds'] for r in rows] == [3, 3]
    assert rows[0]['ratio'] == 1
    # Two calls per round: the pair of a round may be one step of slowing apart.
    assert 0.25 / 1.5 <= rows[1]['ratio'] <= 0.25 * 1.5
    head, _, first, second = table(rows).splitlines()
    assert head.split() == ['variant', 'ms', 'ratio', 'quartiles', 'images/s']
    assert len(first.split()) == 5
    assert len(second.split()) == 4


def test_peak_counts_what_is_held_at_once():
    def step():
        a = torch.empty(2**20)
        b = torch.empty(2**20)
        del a, b
        torch.empty(2**20)

    assert timing.peak_bytes(step) == 2 * 4 * 2**20


def test_pooling(measured, capsys):
    report = measured('pooling --shape 2 16 3 3 --profile 2')
    (group,) = report['groups']
    rows = {row['name']: row for row in group['rows']}
    assert rows['isqrt']['baseline'] == 'isqrt official'
    assert rows['dropcov']['baseline'] == 'dropcov official'
    assert rows['isqrt']['peak_mib'] > 0
    assert report['machine']['torch'] == torch.__version__
    assert report['command'].startswith('python -m benchmarks pooling --shape 2')
    shown = capsys.readouterr().out
    assert 'exact root' in shown
    assert 'Self CPU' in shown


def test_costs_of_half_precision(measured):
    words = 'pooling --shape 2 16 3 3 --precision fp32 bf16 --roofline --no-memory'
    single, half = measured(words)['groups']
    assert half['title'] == f'{single["title"]}, bf16'
    costs = {row['name']: row for row in single['rows']}
    # Products of 16 x 9 with 9 x 16: two forward, official, and one here.
    assert costs['dropcov']['gflop'] < costs['dropcov official']['gflop']
    for row in single['rows'] + half['rows']:
        assert min(row['gflop'], row['mbyte'], row['kernels']) > 0
        assert row['over_floor'] == row['milliseconds'] / row['floor_milliseconds']


def test_the_state_of_a_gpu(monkeypatch, tmp_path):
    """What nvidia-smi answers has this form; the values are made up."""
    tool = tmp_path / 'nvidia-smi'
    tool.write_text('#!/bin/sh\necho "1980 MHz, 2619 MHz, 34, 118.52 W"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    found = gpu_state()
    assert found == '1980 MHz, memory 2619 MHz, 34 degrees, 118.52 W'


def test_encoders(measured):
    pytest.importorskip('mmpretrain')
    report = measured('encoders --depth 18 --batch 2 --size 48 --also onednn')
    stages = [f'GCPResNet {stage}' for stage in ('stride', 'maxpool', 'native')]
    inference, training = map(names, report['groups'])
    plain = ['framework', 'framework again', *stages]
    assert training == plain
    assert inference == [*plain, 'framework onednn', 'GCPResNet native onednn']


@pytest.mark.parametrize('way', ['channels_last', 'fused', 'onednn'])
def test_other_ways_compute_the_same_features(way):
    pytest.importorskip('mmpretrain')
    from benchmarks.encoders import WAYS

    def encoder():
        init_default_scope('mmpretrain')
        torch.manual_seed(0)
        kind = dict(type='mmgcp.GCPResNet', last_stage='native')
        model = MODELS.build(dict(kind, depth=18, base_channels=16))
        for name, buffer in model.named_buffers():
            if name.endswith('running_var'):
                buffer.uniform_(0.5, 2)  # so that folding has something to fold
        model.eval()
        return model

    x = torch.randn(2, 3, 64, 64)
    other, y = WAYS[way](encoder(), x)
    with torch.no_grad():
        [wanted], [got] = encoder()(x), other(y)
    got = got.to_dense() if got.is_mkldnn else got
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_pretraining_steps(measured):
    pytest.importorskip('mmpretrain')
    report = measured('pretrain-step --batch 2 --size 48 --no-memory')
    (group,) = report['groups']
    assert names(group) == [
        'resnet18-w8-gap_scenes',
        'resnet18-w8-isqrt_scenes',
        'pooling of resnet18-w8-isqrt_scenes',
        'resnet18-w8-dropcov_scenes',
        'pooling of resnet18-w8-dropcov_scenes',
    ]
    for row in group['rows']:
        if row['name'].startswith('pooling of '):
            assert row['baseline'] == row['name'].removeprefix('pooling of ')
            assert 0 < row['ratio'] < 1


@pytest.mark.parametrize(
    ('framework', 'config'), [('mmdet', DETECTOR), ('mmseg', SEGMENTOR)]
)
def test_dense_steps(framework, config, measured, scenes, capsys):
    pytest.importorskip(framework)
    common = f'--config {config} --batch 2 --no-memory'
    report = measured(f'transfer-step {common} --size 64 --last-stage stride native')
    (group,) = report['groups']
    assert names(group) == ['last_stage=stride', 'last_stage=native']
    (group,) = measured(f'prediction {common} --size 64')['groups']
    assert group['title'] == f'prediction, {framework}'
    capsys.readouterr()
    (group,) = measured(f'throughput {common}')['groups']
    parts = ['step', 'copy', 'forward', 'forward, backward', 'loading']
    assert names(group) == [*parts, 'loading and step']
    assert re.search(r'^most of it: \w+, \d+%$', capsys.readouterr().out, re.M)
    assert all(row['images_per_second'] > 0 for row in group['rows'])


def test_wrong_options_are_refused(capsys, monkeypatch):
    with pytest.raises(SystemExit):
        command.main(['pooling', '--rounds', '0'])
    assert '--rounds must be at least 1' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(['pooling', '--graph'])
    assert 'need --device cuda' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='1'):
        command.run_main(command.main, ['prediction', '--config', 'configs/none.py'])
    assert 'configs/none.py' in capsys.readouterr().err


@pytest.mark.once
def test_commands_of_the_page_are_understood(monkeypatch):
    page = (ROOT / 'docs/performance.md').read_text()
    found = re.findall(r'^ +python -m benchmarks (.+?)(?: +#.*)?$', page, re.M)
    assert len(found) > 5
    monkeypatch.chdir(ROOT)
    for words in found:
        args = command.parser().parse_args(shlex.split(words))
        assert all(Path(path).is_file() for path in getattr(args, 'config', []))

"""The measuring itself, and the command line on the smallest of inputs."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import cli, timing
from benchmarks.profile import transform_costs
from benchmarks.report import save_json, table

ROOT = Path(__file__).parents[2]


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
        timing.Variant('a', lambda: 'a', 'a', items=2),
        timing.Variant('b', lambda: 'b', 'a', targets={'time': 0.4}),
    ]
    rows = timing.measure(variants, rounds=3, warmup=1, memory=False)
    assert calls == ['b', 'a', 'a', 'b', 'b', 'a', 'a', 'b']
    assert [r['rounds'] for r in rows] == [3, 3]
    assert rows[0]['ratio'] == 1
    # Two calls per round: the pair of a round may be one step of slowing apart.
    assert 0.25 / 1.5 <= rows[1]['ratio'] <= 0.25 * 1.5
    assert 'b' in table(rows)
    assert 'met' in table(rows)


def test_peak_counts_what_is_held_at_once():
    def step():
        a = torch.empty(2**20)
        b = torch.empty(2**20)
        del a, b
        torch.empty(2**20)

    assert timing.peak_bytes(step) == 2 * 4 * 2**20


def test_json_is_whole_or_absent(tmp_path):
    target = tmp_path / 'new' / 'report.json'
    with pytest.raises(TypeError):
        save_json(str(target), {'bad': object()})
    assert not target.exists()
    save_json(str(target), {'good': 1})
    assert json.loads(target.read_text()) == {'good': 1}
    assert [p.name for p in target.parent.iterdir()] == ['report.json']


def test_command_line_writes_table_json_and_picture(tmp_path):
    command = [sys.executable, 'tools/benchmark.py', 'pooling']
    options = '--shape 2 16 3 3 --rounds 2 --warmup 1 --threads 1'
    command += options.split()
    command += ['--json', tmp_path / 'a.json', '--plot', tmp_path / 'a.png']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    report = json.loads((tmp_path / 'a.json').read_text())
    (group,) = report['groups']
    rows = {r['name']: r for r in group['rows']}
    assert rows['isqrt']['baseline'] == 'isqrt official'
    assert rows['dropcov']['baseline'] == 'dropcov official'
    assert rows['isqrt']['peak_mib'] > 0
    assert report['machine']['torch'] == torch.__version__
    assert 'exact root' in done.stdout
    assert (tmp_path / 'a.png').stat().st_size > 1000


def test_encoders_and_configs(tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain')
    monkeypatch.chdir(ROOT)
    options = '--rounds 1 --warmup 0 --threads 1 --batch 2 --size 48 --no-memory'
    common = options.split()
    out = str(tmp_path / 'out.json')
    threads = torch.get_num_threads()
    try:
        cli.main(['encoders', '--depth', '18', *common, '--json', out])
        rows = [g['rows'] for g in json.loads(Path(out).read_text())['groups']]
        assert [r['name'] for r in rows[0]][2:] == [
            f'GCPResNet {stage}' for stage in ('stride', 'maxpool', 'native')
        ]
        remarks = [g['remarks'] for g in json.loads(Path(out).read_text())['groups']]
        (infer, native), (train, _) = [
            [float(re.search(r'([\d.]+) GFLOP', text).group(1)) for text in group]
            for group in remarks
        ]
        # 1.82 G multiply-adds at 224 x 224; 2 images, of 64 where strides round up
        assert 4 * 1.82 * (48 / 224) ** 2 < infer < 4 * 1.82 * (64 / 224) ** 2
        assert native > 1.3 * infer
        assert 2.5 * infer < train < 3 * infer  # no gradient of the image
        cli.main(['pretrain-step', *common, '--profile', '3', '--json', out])
        (group,) = json.loads(Path(out).read_text())['groups']
        names = [r['name'] for r in group['rows']]
        assert names == [
            'resnet18-w16-gap_scenes',
            'resnet18-w16-isqrt_scenes',
            'pooling of resnet18-w16-isqrt_scenes',
            'resnet18-w16-dropcov_scenes',
            'pooling of resnet18-w16-dropcov_scenes',
        ]
        for row in group['rows']:
            if row['name'].startswith('pooling of '):
                assert row['baseline'] == row['name'].removeprefix('pooling of ')
                assert 0 < row['ratio'] < 1
            else:
                assert row['images_per_second'] > 0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ('framework', 'config'),
    [
        ('mmdet', 'configs/detection/mask-rcnn_r18-w16_fpn_scenes.py'),
        ('mmseg', 'configs/segmentation/fpn_r18-w16_scenes.py'),
    ],
)
def test_transfer_steps(framework, config, tmp_path, monkeypatch):
    pytest.importorskip(framework)
    monkeypatch.chdir(ROOT)
    out = str(tmp_path / 'out.json')
    options = '--rounds 1 --warmup 0 --threads 1 --batch 2 --size 64 --no-memory'
    threads = torch.get_num_threads()
    try:
        stages = ['--last-stage', 'stride', 'native', '--config', config]
        cli.main(['transfer-step', *options.split(), *stages, '--json', out])
        (group,) = json.loads(Path(out).read_text())['groups']
        names = [r['name'] for r in group['rows']]
        assert names == ['last_stage=stride', 'last_stage=native']
        cli.main(['evaluation', *options.split(), '--config', config, '--json', out])
        assert json.loads(Path(out).read_text())['groups'][0]['title'].endswith(
            framework
        )
    finally:
        torch.set_num_threads(threads)


@pytest.mark.once
def test_startup_imports_in_fresh_interpreters(tmp_path):
    out = str(tmp_path / 'out.json')
    cli.main(['startup', '--rounds', '1', '--warmup', '0', '--json', out])
    (group,) = json.loads(Path(out).read_text())['groups']
    names = [row['name'] for row in group['rows']]
    assert names[:2] == ['import torch, mmengine', 'import mmgcp']


def test_slow_transforms_are_named():
    class Slow:
        def __call__(self, data):
            time.sleep(0.002)
            return data

    class Refuses:
        def __call__(self, data):
            return None

    class Never:
        def __call__(self, data):
            raise AssertionError('behind a transform that refused the image')

    class Images:
        pipeline = SimpleNamespace(transforms=[Refuses(), Never()])

        def __len__(self):
            return 3

        def get_data_info(self, index):
            return {'index': index}

    images = Images()
    assert '3 x  Refuses' in transform_costs(images, 1)
    images.pipeline.transforms = [lambda data: data, Slow()]
    (line,) = transform_costs(images, 1).splitlines()
    assert line.endswith('3 x  Slow')
    assert float(line.split()[0]) >= 6


def test_selection_keeps_the_baselines():
    variants = [
        timing.Variant(name, lambda: None, baseline)
        for name, baseline in [('a', 'a'), ('b', 'a'), ('c', 'b'), ('d', 'a')]
    ]
    assert [v.name for v in cli._selected(variants, ['c'])] == ['a', 'b', 'c']
    assert cli._selected(variants, None) == variants


def test_bad_options_are_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(['pooling', '--rounds', '0'])
    assert '--rounds must be at least 1' in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match='no such config'):
        cli.main(['evaluation', '--config', 'configs/none.py'])

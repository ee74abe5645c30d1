"""Every tool on a config of the project, for each framework."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from mmgcp.analysis.hessian import SampleLoss, hessian_product
from mmgcp.analysis.robustness import CorruptionTest
from mmgcp.analysis.sample import Settings, load_run, sample_batches
from mmgcp.utils.errors import UserError
from mmgcp.utils.run_specs import RunSpec

FRAMEWORKS = ['mmpretrain', 'mmdet', 'mmseg']
each_framework = pytest.mark.parametrize('framework', FRAMEWORKS)
TOOLS = Path(__file__).parents[2] / 'tools' / 'analysis'


def rows_of(name, specs, out, *options):
    """Run a tool in this process and read what it wrote."""
    paths = [path for spec in specs for path in (spec.config, spec.checkpoint)]
    labels = [spec.label for spec in specs]
    words = [*paths, '--labels', *labels, '--out', out, *options]
    runpy.run_path(str(TOOLS / f'{name}.py'))['main'](list(map(str, words)))
    assert (out / f'{name}.png').stat().st_size > 1000
    return json.loads((out / f'{name}.json').read_text())['runs']


def sample(images, batch_size):
    return '--images', images, '--batch-size', batch_size, '--device', 'cpu'


@each_framework
def test_landscape(framework, spec_of, tmp_path):
    options = ('--steps', 0.01, 20.01, 3, *sample(4, 4))
    (row,) = rows_of('landscape', [spec_of(framework)], tmp_path, *options)
    assert row['sample'].pop('of') >= 4
    used = {'split': 'train', 'images': 4, 'batch_size': 4, 'seed': 0}
    assert row['sample'] == used
    assert row['eta'] == pytest.approx([0.01, 10.01, 20.01])
    # To first order the loss rises by eta |g|^2.
    rise = row['loss'][0] - row['loss_at_zero']
    assert rise > 0
    assert rise == pytest.approx(0.01 * row['gradient_norm'] ** 2, rel=0.3)


def test_landscape_of_a_hooks_record(spec_of, tmp_path):
    entry = {
        name: [1.0, 2.0] for name in ('eta', 'loss', 'gradient_change', 'beta')
    } | {f'{name}_band': [1.0, 2.0] for name in ('loss', 'gradient_change', 'beta')}
    entries = [{'iteration': i, 'effective_beta': 2.0, **entry} for i in (0, 500)]
    record = tmp_path / 'record.json'
    record.write_text(json.dumps({'entries': entries}))
    spec = RunSpec(spec_of('mmpretrain').config, str(record), 'watched')
    rows = rows_of('landscape', [spec], tmp_path)
    assert [row['iteration'] for row in rows] == [0, 500]


@each_framework
def test_curvature(framework, spec_of, tmp_path):
    options = ('--lanczos-steps', 2, '--probes', 2, '--points', 3, '--grid', 2)
    options += ('--radii', 0.01, *sample(2, 2))
    (row,) = rows_of('curvature', [spec_of(framework)], tmp_path, *options)
    assert 'reason' not in row['hessian']
    assert len(row['hessian']['history']) == len(row['trace']['history']) == 2
    # The middle of a line is where the run ended.
    assert row['line']['loss'][0][1] == pytest.approx(row['loss'], rel=1e-5)
    # To first order the loss rises by radius times gradient norm.
    first_order = 0.01 * row['weight_norm'] * row['gradient_norm']
    assert 0 < row['sharpness'][0]['one_step'] < 100 * first_order


def test_errors_of_seeds_and_images(spec_of, tmp_path, capsys):
    names = [(f'{arm}{seed}', seed) for arm in 'ab' for seed in (0, 1)]
    specs = [spec_of('mmpretrain', *name) for name in names]
    specs = [spec._replace(label=spec.label[0]) for spec in specs]
    options = ('--seeds', *sample(4, 2))
    rows_of('landscape', specs, tmp_path, '--steps', 0.01, 1, 2, *options)
    # Both arms are of the same seeds.
    line = 'minus a: 0 +- 0 (standard error 0 from 2 seeds, 0 from 2 samples of images)'
    assert f'{line}; they agree within two standard errors' in capsys.readouterr().out
    options = ('--lanczos-steps', 2, '--probes', 2, '--points', 2, '--grid', 2)
    options += ('--radii', 0.01, '--seeds', *sample(2, 2))
    rows = rows_of('curvature', specs, tmp_path, '--samples', 2, *options)
    arms = json.loads((tmp_path / 'curvature.json').read_text())['arms']
    assert [arm['label'] for arm in arms] == ['a', 'b']
    # Another sample, and the first one again.
    found = [row['measures']['trace'] for row in rows[:2]]
    assert arms[0]['measures']['trace']['mean'] == pytest.approx(
        sum(map(sum, found)) / 4
    )
    assert found[0][0] == rows[0]['trace']['trace'] != found[0][1]
    with pytest.raises(
        UserError, match='16 samples of 2 images, .* has 30: take fewer'
    ):
        rows_of('curvature', specs, tmp_path, '--samples', 16, *options)


@pytest.mark.parametrize('framework', ['mmdet', 'mmseg'])
def test_hessian_products_agree_with_differences(framework, spec_of):
    run = load_run(spec_of(framework), Settings(device='cpu'))
    sample = sample_batches(run, 'train', 2, 2, 0)
    # Biases of the last convolutions: the loss is smooth in them.
    part = {'mmdet': 'roi_head.bbox_head.fc_cls.bias', 'mmseg': 'decode_head.conv_seg'}
    loss = SampleLoss(run.model, sample, part[framework])
    vector = torch.ones(loss.numel, dtype=torch.float64)
    vector[::2] = -0.5
    gradients = []
    for step in (0.01, -0.01):
        with loss.at(loss.weights() + step * vector):
            gradients.append(loss.gradient())
    nearby = (gradients[0] - gradients[1]) / 0.02
    torch.testing.assert_close(
        hessian_product(loss)(vector), nearby, rtol=1e-2, atol=1e-4
    )


@each_framework
def test_preconditioner(framework, spec_of, tmp_path):
    options = ('--heads', 'isqrt', '--reduced-channels', 8, *sample(4, 4))
    (row,) = rows_of('preconditioner', [spec_of(framework)], tmp_path, *options)
    assert row['convolution'] == 'backbone.layer4.1.conv2'
    classifier = framework == 'mmpretrain'
    assert list(row['heads']) == (['own', 'gap', 'isqrt'] if classifier else ['own'])
    own = row['heads']['own']
    assert own['norm'] > 0
    assert 0 < own['angle_between_halves'] <= 180
    assert 1 <= own['output_gradient']['effective_rank'] <= 128
    if classifier:
        assert row['heads']['gap']['angle_to_gap'] == pytest.approx(0, abs=1e-3)
        assert row['heads']['isqrt']['angle_to_gap'] > 0.1


def test_preconditioner_needs_two_images(spec_of, tmp_path):
    with pytest.raises(UserError, match='--images'):
        rows_of('preconditioner', [spec_of('mmpretrain')], tmp_path, '--images', 1)


@each_framework
def test_spectrum(framework, spec_of, tmp_path):
    spec = spec_of(framework)
    specs = [spec, RunSpec(spec.config, spec.checkpoint, 'twin')]
    first, second = rows_of('spectrum', specs, tmp_path, *sample(3, 2))
    stages = [f'stage{i}' for i in range(1, 5)]
    widths = [first['stages'][name]['channels'] for name in stages]
    assert widths == [widths[0] * factor for factor in (1, 2, 4, 8)]
    if framework == 'mmdet':
        stages = [f'pyramid{i}' for i in range(1, 5)] + stages
    assert list(first['stages']) == stages
    assert ('pooling' in first) == (framework == 'mmpretrain')
    cka = second['preserved']['cka']
    assert cka == pytest.approx(dict.fromkeys(stages, 1.0))


@each_framework
def test_robustness_resumes(framework, spec_of, tmp_path):
    pytest.importorskip('imagecorruptions')
    specs = [spec_of(framework)]
    options = ('--severities', 1, 5, '--images', 3, '--corruptions', 'contrast')
    options += ('--cfg-options', 'test_dataloader.num_workers=0')
    (row,) = rows_of('robustness', specs, tmp_path, *options)
    assert row['evaluations_done_now'] == 3
    assert row['sample']['images'] == 3
    assert row['alexnet']['mCE'] is None
    options = [*options[:6], 'pixelate', *options[6:]]
    (row,) = rows_of('robustness', specs, tmp_path, *options)
    assert row['evaluations_done_now'] == 2
    assert set(row['table']) == {'contrast', 'pixelate'}
    assert set(row['table']['contrast']) == {'1', '5'}


QUICK = {'test_dataloader.num_workers': 0}


def test_robustness_where_nothing_is_detected(spec_of, tmp_path):
    """mmdet's metric is silent about no detections; their precision is 0."""
    blind = {'model.test_cfg.rcnn.score_thr': 1.1, **QUICK}
    settings = Settings(images=3, options=blind, device='cpu')
    test = CorruptionTest(spec_of('mmdet'), tmp_path, settings)
    with pytest.raises(UserError, match='no metric on 3 clean images.*--images'):
        test.clean()
    clean = {'coco/bbox_mAP': 0.5, 'coco/bbox_mAP_l': -1.0}
    found = test.corrupted('contrast', [5], clean)
    assert found == {5: {'coco/bbox_mAP': 0.0, 'coco/bbox_mAP_l': -1.0}}


def test_another_checkpoint_is_evaluated_again(spec_of, tmp_path):
    spec = spec_of('mmpretrain')
    settings = Settings(images=3, options=QUICK, device='cpu')
    CorruptionTest(spec, tmp_path, settings).run('clean', [0])
    spec_of('mmpretrain', seed=1)
    test = CorruptionTest(spec, tmp_path, settings)
    test.run('clean', [0])
    assert test.done == 1


@each_framework
def test_complexity(framework, spec_of, tmp_path):
    spec = RunSpec(spec_of(framework).config, 'none', 'x')
    (row,) = rows_of('complexity', [spec], tmp_path, '--device', 'cpu')
    parts = row['parts']
    for key in ('parameters', 'multiply_adds', 'activation_bytes'):
        assert sum(part[key] for part in parts.values()) == row[key]
        assert parts['backbone'][key] > 0
    assert set(parts['rest'].values()) == {0}
    assert ('boxes_per_image' in row) == (framework == 'mmdet')

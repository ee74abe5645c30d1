"""Frozen evaluation and batch norms estimated anew, on networks of known answers."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

pytest.importorskip('mmcv._ext')
pytest.importorskip('mmpretrain')

from mmgcp.analysis.frozen import (
    METRICS,
    SCORES,
    evaluate_features,
    logistic_accuracy,
    neighbors_accuracy,
    pooled_features,
)
from mmgcp.analysis.sample import load_encoder, sample_batches
from mmgcp.utils.config import load_config
from mmgcp.weights.trained_model import build_untrained

CONFIG = 'configs/pretrain/resnet18-w8-isqrt_scenes.py'


def blobs(count: int, distance: float, seed: int):
    """Two clouds of unit variance around ``(distance, 1)`` and ``(1, distance)``."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    centers = np.array([[distance, 1.0], [1.0, distance]])[labels]
    return centers + 0.1 * draw.normal(size=(count, 2)), labels


def test_separable_classes_are_found():
    parts = {name: blobs(60, 5.0, seed) for seed, name in enumerate(('train', 'val'))}
    found = evaluate_features({**parts, 'test': blobs(60, 5.0, 2)})
    assert found['knn/accuracy'] == found['logistic/accuracy'] == 100
    assert found['knn/neighbors'] == 10
    # Without information both are at chance.
    draw = np.random.default_rng(3)
    mixed = {name: (x, draw.permutation(y)) for name, (x, y) in parts.items()}
    found = evaluate_features({**mixed, 'test': blobs(60, 5.0, 2)})
    assert found['knn/accuracy'] < 75


def test_neighbors_vote_by_similarity():
    # Two near votes of class 0 outweigh three far ones of class 1.
    angles = np.array([0.0, 0.02, 1.2, 1.25, 1.3])
    train = np.stack([np.cos(angles), np.sin(angles)], 1), np.array([0, 0, 1, 1, 1])
    test = np.array([[1.0, 0.01]]), np.array([0])
    assert neighbors_accuracy(train, test, 200) == 100
    similarity = train[0] @ test[0][0] / np.linalg.norm(test[0][0])
    votes = np.exp(similarity / 0.07)
    assert votes[:2].sum() > votes[2:].sum()


def test_regularization_is_chosen_on_val():
    train, val, test = (blobs(40, 1.3, seed) for seed in range(3))
    found = logistic_accuracy(train, val, test)
    assert found['val'] == 100
    turned = val[0], 1 - val[1]
    assert logistic_accuracy(train, turned, test)['val'] < 60


@pytest.fixture
def encoder(scenes, tmp_path):
    """An encoder file whose last stage has impossible statistics, and its config."""
    config = load_config(CONFIG)
    backbone = build_untrained(config).backbone
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(0.5)
    path = tmp_path / 'encoder.pth'
    torch.save({'state_dict': backbone.state_dict(), 'meta': {'layout': 'x'}}, path)
    return config, path


def test_an_encoder_of_another_width_is_named(scenes, run_tool, tmp_path):
    models = pytest.importorskip('torchvision.models')
    path = tmp_path / 'wide.pth'
    torch.save(models.resnet18().state_dict(), path)
    done = run_tool('evaluate_encoder', path, '--data', CONFIG)
    assert f'{path} does not fit the backbone of ' in done.err


def test_tokens_are_averaged(scenes):
    config = load_config(CONFIG)
    backbone = dict(type='VisionTransformer', arch='deit-t', img_size=48)
    config.model.backbone = dict(backbone, out_type='raw')
    run = load_encoder(config, 'none')
    seen = []
    run.model.backbone.register_forward_hook(lambda *call: seen.append(call[-1][-1]))
    features, labels = pooled_features(run, 'test')
    assert features.shape == (len(labels), 192)
    assert features[0] == pytest.approx(seen[0][0, 1:].double().mean(0).numpy())


def test_random_weights_are_those_of_the_seed(scenes):
    config = load_config(CONFIG)

    def weights(seed):
        config.randomness.seed = seed
        return load_encoder(config, 'none').model.backbone.conv1.weight

    assert weights(1).equal(weights(1))
    assert not weights(1).equal(weights(2))


def test_scores_of_a_classifier_and_of_its_encoder(encoder, run_tool, tmp_path):
    config, path = encoder
    out = tmp_path / 'found.json'
    model = build_untrained(config)
    model.backbone.load_state_dict(torch.load(path)['state_dict'])
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    common = ('--data', CONFIG, '--out', out)
    done = run_tool('evaluate_encoder', path, *common)
    assert not done.status, done.err
    found = json.loads(out.read_text())
    assert found.keys() == set(METRICS)
    assert 0 <= found['knn/accuracy'] <= 100
    assert f'{found["logistic/accuracy"]:.2f}' in done.out
    done = run_tool('evaluate_encoder', tmp_path / 'model.pth', *common, '--scores')
    assert not done.status, done.err
    scored = json.loads(out.read_text())
    assert scored.keys() == {*METRICS, *SCORES}
    assert scored['scores/LEEP'] <= 0
    assert f'LogME on train: {scored["scores/LogME"]:.4g}' in done.out
    assert found == pytest.approx({name: scored[name] for name in METRICS})


def test_conversion_estimates_anew(encoder, run_tool, tmp_path):
    config, path = encoder
    model = build_untrained(config)
    model.backbone.load_state_dict(torch.load(path)['state_dict'])
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    arguments = ('convert_checkpoint', tmp_path / 'model.pth', tmp_path / 'new.pth')
    done = run_tool(*arguments, '--recalibrate', 4)
    assert 'needs --config CONFIG and --to encoder' in done.err
    done = run_tool(*arguments, '--recalibrate', 4, '--config', CONFIG)
    assert not done.status, done.err
    meta = torch.load(tmp_path / 'new.pth')['meta']
    assert meta['layout'] == 'mmpretrain'
    assert '4 images of resnet18-w8-isqrt_scenes.py' in meta['recalibrated']


def test_statistics_are_those_of_the_images(encoder, tmp_path):
    from mmgcp.analysis.recalibration import recalibrate_encoder

    config, path = encoder
    config.model.backbone.last_stage = 'maxpool'
    new, _, said = recalibrate_encoder(config, path, tmp_path / 'new.pth', images=8)
    before, after = torch.load(path)['state_dict'], torch.load(new)
    assert after['meta']['recalibrated'] == said
    assert said.startswith('last stage maxpool, 8 images')
    assert float(said.split()[-3]) > 0.1
    changed = {n for n, t in after['state_dict'].items() if not t.equal(before[n])}
    assert all(name.startswith('layer4.') for name in changed)
    assert {name.rpartition('.')[2] for name in changed} >= {
        'running_mean',
        'running_var',
    }
    # The first norm of the stage sees what its convolution makes of the images.
    backbone = build_untrained(config).backbone.eval()
    backbone.load_state_dict(before)
    from mmgcp.engine.forward import prepare

    run = load_encoder(config, path)
    sample = sample_batches(run, 'train', 8, 8, 0)
    seen = []
    run.model.backbone.layer4[1].conv1.register_forward_hook(
        lambda _, args, output: seen.append(output)
    )
    with torch.no_grad():
        run.model.backbone(prepare(run.model, sample.batches[0])['inputs'])
    expected = seen[0].mean((0, 2, 3))
    found = after['state_dict']['layer4.0.bn1.running_mean']
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_stage_without_batch_norm_is_told(encoder, tmp_path):
    from mmgcp.analysis.recalibration import recalibrate_encoder
    from mmgcp.utils.errors import UserError

    config, _ = encoder
    config.model = Config(
        dict(
            type='ImageClassifier',
            backbone=dict(type='VisionTransformer', arch='deit-t', img_size=48),
        )
    )
    with pytest.raises(UserError, match='VisionTransformer has no batch norm'):
        recalibrate_encoder(config, 'none', tmp_path / 'new.pth', images=8)


@pytest.mark.parametrize('levels', [0, [0, 1]])
def test_linear_segmentation_head(levels):
    pytest.importorskip('mmseg')
    from mmengine.registry import init_default_scope

    from mmgcp.registry import MODELS

    init_default_scope('mmseg')
    maps = [torch.rand(2, 4, 8, 8), torch.rand(2, 6, 4, 4)]
    head = MODELS.build(
        dict(
            type='mmgcp.LinearSegmentationHead',
            in_channels=[4, 6] if levels else 4,
            in_index=levels,
            num_classes=3,
            norm_cfg=dict(type='BN'),
        )
    ).train()
    head.convs[0].p = 0.0
    assert {name for name, _ in head.named_parameters()} == {
        'conv_seg.weight',
        'conv_seg.bias',
        'convs.1.weight',
        'convs.1.bias',
    }
    logits = head(maps)
    x = maps[0]
    if levels:
        wide = nn.functional.interpolate(maps[1], size=(8, 8), mode='bilinear')
        x = torch.cat([x, wide], 1)
    mean, var = x.mean((0, 2, 3), True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    expected = nn.functional.conv2d(
        (x - mean) / (var + 1e-5).sqrt(), head.conv_seg.weight, head.conv_seg.bias
    )
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)

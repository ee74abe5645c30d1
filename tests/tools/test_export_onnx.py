"""ONNX files answer as PyTorch does, also to a program that knows no PyTorch."""

import numpy as np
import pytest
import torch
from torch import nn

from mmgcp.export.graphs import FixedAdaptivePool, with_fixed_pools
from mmgcp.utils.config import load_config
from mmgcp.visualization import Predictor
from mmgcp.visualization.files import read_image

from .conftest import CONFIGS

onnxruntime = pytest.importorskip('onnxruntime')
NORMALIZATION = 'model.neck.normalization'


def answer(path, image):
    session = onnxruntime.InferenceSession(
        str(path), providers=['CPUExecutionProvider']
    )
    pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
    return session.run(None, {'image': pixels})


@pytest.mark.parametrize('kind', ['gap', 'classifier', 'dropcov'])
def test_classifier_from_raw_pixels(kind, run_tool, scenes, checkpoint_of, tmp_path):
    folder = scenes / 'classification/test/8'
    out = tmp_path / 'model.onnx'
    done = run_tool(
        'export_onnx', CONFIGS[kind], checkpoint_of(kind), out, '--images', folder
    )
    assert done.status == 0, done.err
    assert 'takes (B, 3, 48, 48)' in done.out
    image = read_image(sorted(folder.iterdir())[0])
    predictor = Predictor(load_config(CONFIGS[kind]), checkpoint_of(kind))
    expected = predictor(image).sample.pred_score.numpy()
    (logits,) = answer(out, image)
    found = torch.from_numpy(logits[0]).softmax(0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    'normalization',
    ['MatrixPower', 'svPN', 'ElementwisePower', 'ScaleNorm', 'LayerNorm'],
)
def test_other_pooling_heads(normalization, run_tool, scenes, tmp_path):
    done = run_tool(
        *('export_onnx', CONFIGS['classifier'], 'none', tmp_path / 'model.onnx'),
        *('--size', 48, 48),
        *('--cfg-options', f'{NORMALIZATION}._delete_=True'),
        f'{NORMALIZATION}.type={normalization}',
    )
    assert done.status == 0, done.err
    assert 'flower.jpg' in done.out


def test_segmenter_labels_every_pixel(run_tool, scenes, checkpoint_of, tmp_path):
    out = tmp_path / 'model.onnx'
    done = run_tool(
        'export_onnx', CONFIGS['segmenter'], checkpoint_of('segmenter'), out
    )
    assert done.status == 0, done.err
    small = read_image(scenes / 'segmentation/images/test/000001.png')
    image = np.pad(small, ((0, 32), (0, 32), (0, 0)), mode='reflect')
    config = load_config(CONFIGS['segmenter'])
    predictor = Predictor(config, checkpoint_of('segmenter'))
    expected = predictor(image).sample.pred_sem_seg.data[0].numpy()
    (logits,) = answer(out, image)
    assert len(np.unique(expected)) > 1
    assert (logits[0].argmax(0) == expected).mean() > 0.999


@pytest.mark.parametrize('part', ['encoder', 'features'])
def test_detector_gives_its_features_at_any_size(
    part, run_tool, scenes, checkpoint_of, tmp_path
):
    out = tmp_path / 'part.onnx'
    done = run_tool(
        *('export_onnx', CONFIGS['detector'], checkpoint_of('detector'), out),
        *('--part', part, '--free-size'),
    )
    assert done.status == 0, done.err
    levels = answer(out, np.zeros((160, 64, 3)))
    assert [level.shape[2:] for level in levels] == [
        (160 // stride, 64 // stride) for stride in (4, 8, 16, 32)
    ]


def test_encoder_file_is_exported_too(run_tool, scenes, checkpoint_of, tmp_path):
    from mmgcp.weights.convert import convert_checkpoint

    encoder = tmp_path / 'encoder.pth'
    convert_checkpoint(checkpoint_of('gap'), encoder)
    for source, name in ((encoder, 'a.onnx'), (checkpoint_of('gap'), 'b.onnx')):
        done = run_tool(
            *('export_onnx', CONFIGS['gap'], source, tmp_path / name),
            *('--part', 'encoder', '--size', 64, 64),
        )
        assert done.status == 0, done.err
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (ours,), (theirs,) = (answer(tmp_path / n, image) for n in ('a.onnx', 'b.onnx'))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ('kind', 'arguments', 'reason'),
    [
        ('detector', (), 'not supported because MaskRCNN pools regions'),
        (
            'classifier',
            (
                *('--size', 48, 48, '--cfg-options', f'{NORMALIZATION}._delete_=True'),
                f'{NORMALIZATION}.type=MatrixLogarithm',
            ),
            'not supported because ONNX has no operator .* MatrixLogarithm',
        ),
        ('segmenter', ('--free-size',), '--free-size: the model pools to fixed grids'),
        ('sem-fpn', ('--free-size',), '--free-size: a layer of .* keeps the size'),
        ('gap', ('--size', 48, 48, '--tolerance', 1e-12), 'differ by more than 1e-12'),
        ('gap', (), 'does not say which size'),
    ],
)
def test_refusals_leave_no_file(kind, arguments, reason, run_tool, scenes, tmp_path):
    import re

    done = run_tool(
        'export_onnx', CONFIGS[kind], 'none', tmp_path / 'model.onnx', *arguments
    )
    assert done.status == 1
    assert re.search(reason, done.err)
    assert 'Traceback' not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('size', [(3, 3), (7, 5), (12, 9)])
@pytest.mark.parametrize('output', [1, 2, 3, 6, (2, None)])
def test_fixed_pool_is_adaptive_pool(size, output):
    x = torch.randn(2, 3, *size)
    expected = nn.AdaptiveAvgPool2d(output)(x)
    torch.testing.assert_close(FixedAdaptivePool(output)(x), expected)


def test_replacing_pools_leaves_the_model_alone():
    model = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.AdaptiveAvgPool2d(1))
    copied, count = with_fixed_pools(model)
    assert count == 1
    assert isinstance(copied[0], FixedAdaptivePool)
    assert isinstance(model[0], nn.AdaptiveAvgPool2d)


def test_file_says_what_it_is(run_tool, scenes, checkpoint_of, tmp_path):
    import hashlib

    out = tmp_path / 'encoder.onnx'
    source = checkpoint_of('detector')
    done = run_tool(
        'export_onnx', CONFIGS['detector'], source, out, '--part', 'encoder'
    )
    assert done.status == 0, done.err
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    meta = session.get_modelmeta().custom_metadata_map
    assert meta['part'] == 'encoder'
    assert meta['checkpoint_sha256'] == hashlib.sha256(source.read_bytes()).hexdigest()

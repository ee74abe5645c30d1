"""ONNX files answer as PyTorch does, also to a program that knows no PyTorch."""

import hashlib
import re

import numpy as np
import pytest
import torch

from mmgcp.utils.config import load_config
from mmgcp.visualization import Predictor, read_image

from .conftest import CONFIGS

onnxruntime = pytest.importorskip('onnxruntime')
NORMALIZATION = 'model.neck.normalization'


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


def answer(path, image):
    pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
    return session_of(path).run(None, {'image': pixels})


@pytest.mark.parametrize('kind', ['classifier', 'dropcov'])
def test_classifier_from_raw_pixels(kind, run_tool, scenes, checkpoint_of, tmp_path):
    folder, out = scenes / 'classification/test/8', tmp_path / 'model.onnx'
    done = run_tool(
        *('export_onnx', CONFIGS[kind], checkpoint_of(kind), out),
        *('--images', folder, '--size', 48, 48),
    )
    assert done.status == 0, done.err
    image = read_image(sorted(folder.iterdir())[0])
    predictor = Predictor(load_config(CONFIGS[kind]), checkpoint_of(kind))
    (logits,) = answer(out, image)
    found = torch.from_numpy(logits[0]).softmax(0)
    torch.testing.assert_close(found, predictor(image).pred_score, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    'normalization',
    ['MatrixPower', 'svPN', 'ElementwisePower', 'ScaleNorm', 'LayerNorm'],
)
def test_other_pooling_heads(normalization, run_tool, scenes, checkpoint_of, tmp_path):
    # svPN and LayerNorm have tensors of their own.
    own = normalization in ('svPN', 'LayerNorm')
    source = 'none' if own else checkpoint_of('classifier')
    done = run_tool(
        *('export_onnx', CONFIGS['classifier'], source, tmp_path / 'model.onnx'),
        *('--size', 48, 48, '--cfg-options', f'{NORMALIZATION}._delete_=True'),
        f'{NORMALIZATION}.type={normalization}',
    )
    assert done.status == 0, done.err
    assert 'flower.jpg' in done.out


def test_segmentor_labels_every_pixel(run_tool, scenes, checkpoint_of, tmp_path):
    out, config = tmp_path / 'model.onnx', CONFIGS['segmentor']
    done = run_tool('export_onnx', config, checkpoint_of('segmentor'), out)
    assert done.status == 0, done.err
    small = read_image(scenes / 'segmentation/images/test/000001.png')
    image = np.pad(small, ((0, 32), (0, 32), (0, 0)), mode='reflect')
    predictor = Predictor(load_config(config), checkpoint_of('segmentor'))
    expected = predictor(image).pred_sem_seg.data[0].numpy()
    (logits,) = answer(out, image)
    assert len(np.unique(expected)) > 1
    assert (logits[0].argmax(0) == expected).mean() > 0.999


@pytest.mark.parametrize('part', ['encoder', 'features'])
def test_detector_gives_its_features_at_any_size(
    part, run_tool, scenes, checkpoint_of, tmp_path
):
    out, source = tmp_path / 'part.onnx', checkpoint_of('detector')
    done = run_tool(
        *('export_onnx', CONFIGS['detector'], source, out),
        *('--part', part, '--free-size'),
    )
    assert done.status == 0, done.err
    levels = answer(out, np.zeros((160, 64, 3)))
    assert [level.shape[2:] for level in levels] == [
        (160 // stride, 64 // stride) for stride in (4, 8, 16, 32)[: len(levels)]
    ]
    assert len(levels) == {'encoder': 3, 'features': 4}[part]
    meta = session_of(out).get_modelmeta().custom_metadata_map
    assert meta['part'] == part
    assert meta['checkpoint_sha256'] == hashlib.sha256(source.read_bytes()).hexdigest()


def test_encoder_file_is_exported_too(run_tool, scenes, checkpoint_of, tmp_path):
    from mmgcp.weights.convert import convert_checkpoint

    encoder = tmp_path / 'encoder.pth'
    convert_checkpoint(checkpoint_of('gap'), encoder)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    levels = []
    for source in (encoder, checkpoint_of('gap')):
        done = run_tool(
            *('export_onnx', CONFIGS['gap'], source, tmp_path / 'encoder.onnx'),
            *('--part', 'encoder', '--size', 64, 64),
        )
        assert done.status == 0, done.err
        levels += answer(tmp_path / 'encoder.onnx', image)
    np.testing.assert_array_equal(*levels)


@pytest.mark.parametrize(
    ('kind', 'arguments', 'reason'),
    [
        ('detector', '', 'MaskRCNN is not supported because ONNX has no form of it'),
        (
            'classifier',
            f'--size 48 48 --cfg-options {NORMALIZATION}._delete_=True '
            f'{NORMALIZATION}.type=MatrixLogarithm',
            'MatrixLogarithm.* is not supported because ONNX has no eigenvalues',
        ),
        ('segmentor', '--free-size', '--free-size: the model pools to fixed grids'),
        ('sem-fpn', '--free-size', 'random, larger: .*; leave out --free-size'),
        ('gap', '--size 48 48 --tolerance 1e-12', 'differ by more than 1e-12'),
        ('gap', '', 'does not say which size'),
    ],
)
def test_refusals_leave_no_file(kind, arguments, reason, run_tool, scenes, tmp_path):
    out = tmp_path / 'model.onnx'
    done = run_tool('export_onnx', CONFIGS[kind], 'none', out, *arguments.split())
    assert done.status == 1
    assert re.search(reason, done.err)
    assert list(tmp_path.iterdir()) == []

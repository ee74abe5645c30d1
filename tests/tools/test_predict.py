"""Predictions on pictures, folders and videos, compared with the frameworks' own."""

import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from mmgcp.utils.config import innermost_dataset, load_config
from mmgcp.visualization import Predictor, read_image, save_image
from mmgcp.visualization.drawing import enlarge, label_place, palette_of
from mmgcp.visualization.predict import predict
from mmgcp.visualization.predictor import classes_of

from .conftest import CONFIGS, ROOT


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_agrees_with_the_framework(kind, scenes, checkpoint_of):
    from mmdet.apis import inference_detector
    from mmseg.apis import inference_model

    config = load_config(CONFIGS[kind])
    predictor = Predictor(config, checkpoint_of(kind))
    image = read_image(scenes / 'detection/test/000001.png')
    ours = predictor(image)
    predictor.model.cfg = config
    infer = inference_detector if kind == 'detector' else inference_model
    theirs = infer(predictor.model, np.ascontiguousarray(image[..., ::-1]))
    drawn = [predictor.draw(image, found, threshold=0.1) for found in (ours, theirs)]
    np.testing.assert_array_equal(*drawn)
    assert (drawn[0] != enlarge(image)).any()


def test_classifier_normalizes_as_in_training(scenes, checkpoint_of):
    predictor = Predictor(load_config(CONFIGS['gap']), checkpoint_of('gap'))
    image = read_image(next((scenes / 'classification/test/3').iterdir()))
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
    with torch.no_grad():
        logits = predictor.model((pixels.sub(mean) / std)[None], mode='tensor')
    torch.testing.assert_close(predictor(image).pred_score, logits[0].softmax(0))


def test_folder_with_a_bad_picture(
    run_tool, scenes, checkpoint_of, tmp_path, monkeypatch
):
    """Two models of two frameworks; the good pictures are all there."""
    folder = tmp_path / 'in'
    shutil.copytree(scenes / 'segmentation/images/test', folder / 'a')
    (folder / 'a/000000.jpg').write_bytes(b'no picture')
    save_image(np.zeros((1, 200, 3), np.uint8), folder / 'narrow.png')
    done = run_tool(
        *('predict', folder, CONFIGS['detector'], checkpoint_of('detector')),
        *(CONFIGS['segmentor'], checkpoint_of('segmentor')),
        *('--out', folder / 'out', '--with-input', '--score-thr', 0.05),
    )
    assert done.status == 1
    assert '2 of 5 pictures failed' in done.err
    assert '000000.jpg cannot be read as a picture' in done.err
    assert 'narrow.png does not fit the test pipeline' in done.err
    written = sorted((folder / 'out').rglob('*.*'))
    assert [path.name for path in written] == ['000000.png', '000001.png', '000002.png']
    assert all(str(path) in done.out for path in written)
    # 3 pictures of 64 x 6 = 384 pixels and 2 gaps of 6
    assert read_image(written[0]).shape[1] == 3 * 384 + 2 * 6
    # Named in another way, the folder of the results is left out as well.
    monkeypatch.chdir(folder)
    again, failed = predict(folder, [], 'out', with_input=True)
    assert len(again) == 4
    assert len(failed) == 1


def test_video_keeps_frames_and_rate(
    run_tool, scenes, checkpoint_of, tmp_path, monkeypatch
):
    import cv2

    source, out = tmp_path / 'in.avi', tmp_path / 'out'
    writer = cv2.VideoWriter(
        str(source), cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (64, 64)
    )
    for path in sorted((scenes / 'segmentation/images/test').iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    model = CONFIGS['segmentor'], checkpoint_of('segmentor')
    done = run_tool('predict', source, *model, '--out', out)
    assert done.status == 0, done.err
    result = cv2.VideoCapture(str(out / 'in.mp4'))
    frames = 0
    while result.read()[0]:
        frames += 1
    assert frames == 3
    assert result.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    assert [path.name for path in out.iterdir()] == ['in.mp4']

    writer = Mock(fourcc=cv2.VideoWriter.fourcc)  # it writes no file
    monkeypatch.setattr(cv2, 'VideoWriter', writer)
    done = run_tool('predict', source, *model, '--out', out)
    assert done.status == 1
    assert 'OpenCV has no encoder' in done.err
    source.write_bytes(b'no video')
    done = run_tool('predict', source, *model, '--out', out)
    assert done.status == 1
    assert 'in.avi cannot be read as a video' in done.err


def test_photographs_are_turned_as_in_the_framework(tmp_path):
    import mmcv

    turned = Image.Exif()
    turned[274] = 6  # by 90 degrees
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3)).astype(np.uint8)
    path = tmp_path / 'a.png'
    Image.fromarray(pixels).save(path, exif=turned)
    expected = mmcv.imread(path, channel_order='rgb', backend='pillow')
    np.testing.assert_array_equal(read_image(path), expected)
    assert expected.shape == (6, 4, 3)


def test_names_of_own_classes(tmp_path):
    settings = load_config(CONFIGS['gap'])
    dataset = {'type': 'CustomDataset', 'classes': [f'kind {i}' for i in range(10)]}
    assert classes_of(settings, dataset)[0][9] == 'kind 9'
    names = tmp_path / 'names.txt'
    names.write_text(''.join(f'{i} of file\n' for i in range(10)))
    dataset = {'type': 'CustomDataset', 'metainfo': {'classes': str(names)}}
    assert classes_of(settings, dataset)[0][9] == '9 of file'


@pytest.mark.parametrize(
    ('config', 'count', 'name'),
    [
        ('detection/retinanet_r50-gap_fpn_1x_coco.py', 80, 'bicycle'),
        ('segmentation/fpn_r50-gap_4xb4-160k_ade20k-512x512.py', 150, 'building'),
        ('pretrain/resnet18-gap_8xb32-lrfast_in1k.py', 1000, 'goldfish'),
        ('pretrain/resnet18-w8-gap_scenes.py', 10, '1'),
    ],
)
def test_names_of_the_classes_without_the_data(config, count, name):
    settings = load_config(ROOT / 'configs' / config)
    dataset = innermost_dataset(settings.test_dataloader.dataset)
    classes, colors = classes_of(settings, dataset)
    assert len(classes) == len(colors) == count
    assert classes[1].startswith(name)


def test_classes_have_colors_of_their_own():
    for classes in (2, 10, 20, 150):
        assert len(set(palette_of(classes))) == classes
    assert palette_of(2, [(1, 2, 3), (4, 5, 6)]) == [(1, 2, 3), (4, 5, 6)]
    # a palette of other classes is not used
    assert palette_of(3, [(1, 2, 3), (4, 5, 6)]) == palette_of(3)


def test_names_stay_inside_the_picture_and_off_each_other():
    taken = []
    covered = np.zeros((200, 300), int)
    for box in ((280, 5, 299, 60), (270, 5, 299, 60), (275, 6, 299, 90), (0, 0, 9, 9)):
        taken.append(label_place(box, (80, 14), (300, 200), taken))
        x1, y1, x2, y2 = taken[-1].astype(int)
        assert 0 <= x1 < x2 < 300
        assert 0 <= y1 < y2 < 200
        covered[y1:y2, x1:x2] += 1
    assert covered.max() == 1

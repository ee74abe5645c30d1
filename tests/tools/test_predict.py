"""Predictions on pictures, folders and videos, held against the frameworks'."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmgcp.utils.config import load_config
from mmgcp.visualization import Predictor, draw_instances, draw_segments, palette_of
from mmgcp.visualization.files import read_image

from .conftest import CONFIGS


def test_detector_agrees_with_mmdet(scenes, checkpoint_of):
    from mmdet.apis import inference_detector

    config = load_config(CONFIGS['detector'])
    predictor = Predictor(config, checkpoint_of('detector'))
    image = read_image(scenes / 'detection/test/000001.png')
    ours = predictor(image).sample.pred_instances
    predictor.model.cfg = config
    theirs = inference_detector(
        predictor.model, np.ascontiguousarray(image[..., ::-1])
    ).pred_instances
    assert len(ours)
    torch.testing.assert_close(ours.bboxes, theirs.bboxes)
    torch.testing.assert_close(ours.scores, theirs.scores)
    assert torch.equal(ours.masks, torch.as_tensor(theirs.masks))


def test_segmenter_agrees_with_mmseg(scenes, checkpoint_of):
    from mmseg.apis import inference_model

    config = load_config(CONFIGS['segmenter'])
    predictor = Predictor(config, checkpoint_of('segmenter'))
    image = read_image(scenes / 'segmentation/images/test/000001.png')
    ours = predictor(image).sample.pred_sem_seg.data
    predictor.model.cfg = config
    theirs = inference_model(
        predictor.model, np.ascontiguousarray(image[..., ::-1])
    ).pred_sem_seg.data
    assert len(ours.unique()) > 1
    assert torch.equal(ours, theirs)


def test_classifier_normalises_as_in_training(scenes, checkpoint_of):
    config = load_config(CONFIGS['classifier'])
    predictor = Predictor(config, checkpoint_of('classifier'))
    image = read_image(next((scenes / 'classification/test/3').iterdir()))
    scores = predictor(image).sample.pred_score
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float()
    with torch.no_grad():
        logits = predictor.model((pixels.sub(mean) / std)[None], mode='tensor')
    torch.testing.assert_close(scores, logits[0].softmax(0))


def test_two_models_of_two_frameworks_side_by_side(
    run_tool, scenes, checkpoint_of, tmp_path
):
    done = run_tool(
        'predict',
        scenes / 'segmentation/images/test',
        CONFIGS['segmenter'],
        checkpoint_of('segmenter'),
        CONFIGS['detector'],
        checkpoint_of('detector'),
        *('--out', tmp_path / 'out', '--with-input', '--score-thr', 0.05),
    )
    assert done.status == 0, done.err
    names = sorted(path.name for path in (tmp_path / 'out').iterdir())
    assert names == ['000000.png', '000001.png', '000002.png']
    picture = read_image(tmp_path / 'out/000000.png')
    # 3 pictures of 64 x 6 = 384 pixels and 2 gaps of 6
    assert picture.shape[1] == 3 * 384 + 2 * 6
    panels = [picture[30:400, i * 390 : i * 390 + 384] for i in range(3)]
    assert (panels[0] != panels[1]).any()
    assert (panels[0] != panels[2]).any()


def test_video_keeps_frames_and_rate(run_tool, scenes, checkpoint_of, tmp_path):
    import cv2

    source = tmp_path / 'in.avi'
    writer = cv2.VideoWriter(
        str(source), cv2.VideoWriter_fourcc(*'MJPG'), 10.0, (64, 64)
    )
    for path in sorted((scenes / 'segmentation/images/test').iterdir()):
        writer.write(cv2.imread(str(path)))
    writer.release()
    done = run_tool(
        'predict',
        source,
        CONFIGS['segmenter'],
        checkpoint_of('segmenter'),
        *('--out', tmp_path / 'out'),
    )
    assert done.status == 0, done.err
    result = cv2.VideoCapture(str(tmp_path / 'out/in.mp4'))
    frames = 0
    while result.read()[0]:
        frames += 1
    assert frames == 3
    assert result.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['in.mp4']


def test_pictures_of_one_name_do_not_overwrite_each_other(tmp_path):
    from mmgcp.visualization.predict import targets

    images = [tmp_path / name for name in ('a.jpg', 'a.png', 'b.png')]
    names = [path.name for path in targets(images, tmp_path, tmp_path / 'out')]
    tmp_path.mkdir(exist_ok=True)
    assert len(set(names)) == 3
    assert names[2] == 'b.png'


def test_drawn_box_is_where_the_object_is():
    image = np.zeros((200, 200, 3), np.uint8)
    drawn = draw_instances(
        image, np.array([[50, 60, 120, 150]]), [1], ['a', 'b'], [(9, 9, 9), (255, 0, 0)]
    )
    changed = np.argwhere((drawn == (255, 0, 0)).all(-1))
    outline = changed[changed[:, 0] >= 60]
    assert outline.min(0).tolist() == [60, 50]
    assert outline.max(0).tolist() == [150, 120]
    assert (drawn[80:140, 70:110] == 0).all()
    assert (image == 0).all()


def test_segments_tint_their_pixels_only():
    image = np.full((60, 60, 3), 100, np.uint8)
    segments = np.full((60, 60), 255)
    segments[10:20, 10:20] = 1
    drawn = draw_segments(image, segments, ['a', 'b'], [(0, 0, 0), (200, 0, 0)], False)
    assert drawn[15, 15].tolist() == [155, 45, 45]
    drawn[10:20, 10:20] = 100
    assert (drawn == 100).all()


@pytest.mark.parametrize('classes', [2, 10, 20, 150])
def test_classes_have_colours_of_their_own(classes):
    colors = palette_of(classes)
    assert len(set(colors)) == classes
    # a palette of other classes is not used
    assert palette_of(classes, [(1, 2, 3)] * (classes + 1)) == colors
    assert palette_of(classes, [(1, 2, 3)] * classes) == [(1, 2, 3)] * classes


def test_written_picture_replaces_nothing_when_it_fails(tmp_path):
    from mmgcp.visualization.files import replacing

    target = tmp_path / 'x.png'
    Image.new('RGB', (3, 3)).save(target)
    before = target.read_bytes()

    def fail_half_way():
        with replacing(target) as temporary:
            temporary.write_bytes(b'half')
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_names_stay_inside_the_picture_and_off_each_other():
    from mmgcp.visualization.drawing import _label_place, _overlap

    taken = []
    for box in ((280, 5, 299, 60), (270, 5, 299, 60), (275, 6, 299, 90), (0, 0, 9, 9)):
        place = _label_place(np.array(box), 80, 14, (300, 200), taken)
        assert 0 <= place[0] <= place[2] < 300
        assert 0 <= place[1] <= place[3] < 200
        assert not any(_overlap(place, other) for other in taken)
        taken.append(place)
    # Without room for another name the first place is better than none.
    crowded = _label_place(np.array((0, 0, 9, 9)), 80, 14, (90, 16), [(0, 0, 90, 16)])
    assert crowded[:2] == (0, 0)


def test_a_legend_counts_the_names_that_do_not_fit(monkeypatch):
    from PIL import ImageDraw

    classes = [f'a rather long name {i}' for i in range(30)]
    few = np.zeros((64, 320), np.uint8)
    many = np.arange(64 * 320).reshape(64, 320).astype(np.uint8) % 30
    image = np.full((64, 320, 3), 128, np.uint8)
    written = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, 'text', lambda self, xy, text, **_: written.append(text)
    )
    shapes = set()
    for part in (few, many):
        drawn = draw_segments(image, part, classes, palette_of(30))
        shapes.add(drawn.shape)
    # Side by side and in a video every picture has the same height.
    assert len(shapes) == 1
    assert written[0] == classes[0]
    names = written[1:-1]
    assert names == classes[: len(names)]
    assert 3 <= len(names) < 30
    assert written[-1] == f'+{30 - len(names)}'


def test_a_legend_of_few_short_names_is_one_row():
    classes, colors = [str(i) for i in range(10)], palette_of(10)
    segments = np.tile(np.arange(10, dtype=np.uint8), (64, 38))[:, :384]
    image = np.full((64, segments.shape[1], 3), 128, np.uint8)
    drawn = draw_segments(image, segments, classes, colors)
    size = max(9, image.shape[1] // 32)
    assert drawn.shape[0] == 64 + size + 8
    shown = {tuple(color) for color in drawn[64:].reshape(-1, 3)} & set(colors)
    assert shown == set(colors)

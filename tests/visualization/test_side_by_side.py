"""Pictures of the truth and of predictions on real validation images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mmgcp.datasets.building import build_dataset
from mmgcp.datasets.scenes import ScenesSpec, make_scenes
from mmgcp.utils.config import load_config
from mmgcp.utils.run_specs import RunSpec
from mmgcp.visualization import read_image
from mmgcp.visualization.predictor import draw_sample
from mmgcp.visualization.side_by_side import make_pictures, truth_of

CONFIGS = Path(__file__).parents[2] / 'configs'
DETECTOR = CONFIGS / 'detection/mask-rcnn_r18-w8_fpn_scenes.py'
SEGMENTOR = CONFIGS / 'segmentation/upernet_r18-w8_scenes.py'


@pytest.fixture(scope='module', autouse=True)
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'scenes'
    sizes = dict(train=1, val=3, test=1, size=64, crops=1, eval_crops=1, digits=5)
    make_scenes(folder, ScenesSpec(**sizes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('MMGCP_SCENES', str(folder))
        yield folder


@pytest.mark.parametrize('config', [DETECTOR, SEGMENTOR])
def test_files_of_each_model(config, scenes, tmp_path):
    models = [RunSpec(str(config), 'none', name) for name in 'ab']
    make_pictures(tmp_path / 'pictures.json', models, count=2)
    content = json.loads((tmp_path / 'pictures.json').read_text())
    assert list(content['models']) == ['a', 'b']
    assert [Path(s['image']).stem for s in content['samples']] == ['000000', '000002']
    for sample in content['samples']:
        assert list(sample['predictions']) == ['a', 'b']
        truth, *found = (
            read_image(tmp_path / file)
            for file in (sample['truth'], *sample['predictions'].values())
        )
        assert truth.shape == (256, 256, 3)
        assert all((truth != other).any() for other in found)
        if config == SEGMENTOR:
            # What the metric ignores is tinted in neither; names cover some of it.
            name = Path(sample['image']).name
            labels = read_image(scenes / 'segmentation/annotations/validation' / name)
            ignored = (labels[..., 0] == 0).repeat(4, 0).repeat(4, 1)
            same = (truth == found[0]).all(-1)
            assert same[ignored].mean() > 0.9
            assert same[~ignored].mean() < 0.9


def test_confident_instances_only():
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    masks = torch.zeros(2, 20, 40, dtype=torch.bool)
    masks[0, 5:15, 5:15] = masks[1, 5:15, 25:35] = True
    boxes = torch.tensor([[5.0, 5, 15, 15], [25, 5, 35, 15]])
    sample = DetDataSample()
    sample.pred_instances = InstanceData(
        bboxes=boxes, labels=torch.tensor([0, 1]), scores=torch.tensor([0.9, 0.1]),
        masks=masks,
    )  # fmt: skip
    image = np.zeros((20, 40, 3), np.uint8)
    colors = [(200, 0, 0), (0, 0, 200)]
    drawn = draw_sample(image, sample, ['a', 'b'], colors, least=200)
    assert drawn[120, 100].tolist() == [110, 0, 0]
    assert not drawn[:, 200:].any()


def test_truth_of_a_detector_is_that_of_the_file(scenes):
    from pycocotools.coco import COCO

    truth = truth_of(build_dataset(load_config(DETECTOR), 'val'), 1).gt_instances
    coco = COCO(scenes / 'detection/annotations/instances_val.json')
    expected = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert len(truth) == len(expected) > 0
    for box, mask, annotation in zip(
        truth.bboxes.tensor.tolist(), truth.masks.masks, expected, strict=True
    ):
        x, y, width, height = annotation['bbox']
        assert box == pytest.approx([x, y, x + width, y + height])
        np.testing.assert_array_equal(mask, coco.annToMask(annotation))

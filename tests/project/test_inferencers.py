"""The frameworks' inferencers with our configs and files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def saved(config: Path, scope: str, classes: tuple, path: Path) -> dict:
    """Save a model of a config with random weights, as a training would."""
    from mmengine.registry import MODELS

    init_default_scope(scope)
    model = MODELS.build(Config.fromfile(config).model)
    tensors = model.state_dict()
    for name, tensor in tensors.items():
        if name.startswith('backbone.') and 'running_mean' in name:
            tensor.normal_(std=0.1)
    meta = dict(dataset_meta=dict(classes=classes, palette=[[0, 0, 0]] * len(classes)))
    torch.save(dict(state_dict=tensors, meta=meta), path)
    return tensors


def images(project) -> list[str]:
    paths = (project.folder / 'data').rglob('*')
    return sorted(str(p) for p in paths if p.suffix in ('.jpg', '.JPEG'))[:2]


def same_weights(model, tensors: dict) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize('project', ['mmdet'], indirect=True)
def test_det_inferencer(project, monkeypatch):
    from mmdet.apis import DetInferencer
    from mmdet.datasets import CocoDataset

    monkeypatch.chdir(project.folder)
    config = CONFIGS / 'detection' / 'faster-rcnn_r50-gcp-m_fpn_1x_coco.py'
    classes = CocoDataset.METAINFO['classes']
    tensors = saved(config, 'mmdet', classes, project.folder / 'detector.pth')
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline[1].scale = (128, 128)
    cfg.model.test_cfg.rpn.max_per_img = 20
    cfg.model.test_cfg.rcnn.score_thr = 0.0
    inferencer = DetInferencer(
        cfg, str(project.folder / 'detector.pth'), device='cpu', show_progress=False
    )
    result = inferencer(images(project), no_save_vis=True)
    assert same_weights(inferencer.model, tensors)
    assert len(result['predictions']) == 2
    for prediction in result['predictions']:
        boxes = np.array(prediction['bboxes'])
        assert len(boxes) == len(prediction['scores']) > 0
        assert np.isfinite(boxes).all()


@pytest.mark.parametrize('project', ['mmseg'], indirect=True)
def test_seg_inferencer(project, monkeypatch):
    from mmseg.apis import MMSegInferencer
    from mmseg.datasets import ADE20KDataset

    monkeypatch.chdir(project.folder)
    config = CONFIGS / 'segmentation' / 'fpn_r50-gcp-m_4xb4-160k_ade20k-512x512.py'
    classes = ADE20KDataset.METAINFO['classes']
    tensors = saved(config, 'mmseg', classes, project.folder / 'segmentor.pth')
    inferencer = MMSegInferencer(
        str(config), str(project.folder / 'segmentor.pth'), device='cpu'
    )
    result = inferencer(images(project)[0])
    assert same_weights(inferencer.model, tensors)
    assert result['predictions'].shape == (120, 160)
    assert 0 <= result['predictions'].min() <= result['predictions'].max() < 150


@pytest.mark.parametrize('project', ['mmpretrain'], indirect=True)
def test_image_classification_inferencer(project, converted):
    from mmpretrain import ImageClassificationInferencer

    config = CONFIGS / 'pretrain' / 'resnet18-dropcov_8xb32-lrnorm_in1k.py'
    inferencer = ImageClassificationInferencer(
        str(config), pretrained=str(converted['classifier']), device='cpu'
    )
    official = converted['official']
    own = inferencer.model.state_dict()
    for ours, theirs in (
        ('backbone.layer4.1.conv2.weight', 'layer4.1.conv2.weight'),
        ('neck.reduction.conv.weight', 'layer_reduce.weight'),
        ('neck.dropout.importance.weight', 'eca_layer.conv.weight'),
        ('head.fc.weight', 'fc.weight'),
    ):
        assert torch.equal(own[ours], official[f'module.{theirs}']), ours
    results = inferencer(images(project))
    assert len(results) == 2
    for result in results:
        assert result['pred_scores'].shape == (1000,)
        assert result['pred_scores'].sum() == pytest.approx(1, abs=1e-4)
        assert result['pred_label'] == int(result['pred_scores'].argmax())
        assert isinstance(result['pred_class'], str)

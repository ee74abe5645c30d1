"""Standard errors from the test images, where they are known."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
import torch

from mmgcp.analysis import bootstrap as module
from mmgcp.analysis.sample import Settings, load_run
from mmgcp.engine.training import evaluate
from mmgcp.utils.errors import UserError
from mmgcp.utils.run_specs import RunSpec

from .test_tools import QUICK, each_framework, rows_of

IMAGES = 40


def all_draws(resamples=2000):
    return np.random.default_rng(0).integers(IMAGES, size=(resamples, IMAGES))


def test_error_of_miou_is_the_one_of_a_mean():
    """With unions of one size, mIoU is the mean of the images' IoU."""
    metrics = pytest.importorskip('mmseg.evaluation.metrics')
    iou = np.random.default_rng(1).integers(0, 11, IMAGES)
    # Intersection, union, predicted and true area of one class.
    results = [
        tuple(torch.tensor([float(v)]) for v in (i, 10, i, 10)) for i in iou.tolist()
    ]
    metric = metrics.IoUMetric()
    metric.dataset_meta = {'classes': ['x']}
    scores = module.iou_scores(metric, results)
    found = scores(np.arange(IMAGES))
    expected = {name: float(v) for name, v in metric.compute_metrics(results).items()}
    assert found == pytest.approx(expected, abs=0.005)
    drawn = [scores(places)['mIoU'] for places in all_draws()]
    error = 10 * iou.std() / IMAGES**0.5
    assert np.std(drawn) == pytest.approx(error, rel=0.06)


def test_error_of_accuracy_is_binomial():
    metrics = pytest.importorskip('mmpretrain.evaluation')
    results = [
        {'pred_score': torch.tensor([0.7, 0.3]), 'gt_label': torch.tensor([i % 4 // 3])}
        for i in range(IMAGES)
    ]
    scores = module.accuracy_scores(metrics.Accuracy(), results)
    assert scores(np.arange(IMAGES)) == {'top1': 75}
    drawn = [scores(places)['top1'] for places in all_draws()]
    error = 100 * (0.75 * 0.25 / IMAGES) ** 0.5
    assert np.std(drawn) == pytest.approx(error, rel=0.06)


def detections(folder, places):
    """mmdet's metric with its results on the images at ``places`` of a random set."""
    metrics = pytest.importorskip('mmdet.evaluation.metrics')
    content = {
        'images': [],
        'annotations': [],
        'categories': [{'id': c, 'name': str(c)} for c in range(3)],
    }
    results = []
    for number, place in enumerate(places, 1):
        rng = np.random.default_rng(place)
        corner, side = rng.uniform(0, 20, (3, 2)), rng.uniform(8, 30, (3, 2))
        labels = rng.integers(3, size=3)
        content['images'].append({'id': number, 'width': 64, 'height': 64})
        for box, size, label in zip(corner, side, labels, strict=True):
            entry = {'id': len(content['annotations']) + 1, 'image_id': number}
            entry |= {'category_id': int(label), 'bbox': [*box, *size], 'iscrowd': 0}
            content['annotations'].append({**entry, 'area': float(size.prod())})
        boxes = np.concatenate([corner, corner + side], 1) + rng.normal(0, 2, (3, 4))
        wrong = rng.uniform(size=3) < 0.3
        found = {'bboxes': boxes, 'scores': rng.uniform(size=3)}
        results.append(
            ({}, {**found, 'img_id': number, 'labels': np.where(wrong, 0, labels)})
        )
    file = folder / f'{len(list(folder.iterdir()))}.json'
    file.write_text(json.dumps(content))
    with contextlib.redirect_stdout(io.StringIO()):
        metric = metrics.CocoMetric(ann_file=str(file))
        metric.dataset_meta = {'classes': ['0', '1', '2']}
        metric.compute_metrics(copy.deepcopy(results))
        return metric, results


@pytest.fixture
def quiet():
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def test_ap_of_the_test_set_is_that_of_pycocotools(tmp_path, quiet):
    from pycocotools.cocoeval import COCOeval

    metric, results = detections(tmp_path, range(IMAGES))
    found = module.coco_scores(metric, results)(np.arange(IMAGES))
    files = metric.results2json([r for _, r in results], str(tmp_path / 'x'))
    truth = metric._coco_api
    evaluation = COCOeval(truth, truth.loadRes(files['bbox']), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert list(found.values()) == evaluation.stats[:3].tolist()
    assert 0.2 < found['bbox_mAP'] < 0.8


def test_an_image_drawn_twice_is_two_images(tmp_path, quiet):
    places = all_draws(1)[0]
    drawn = module.coco_scores(*detections(tmp_path, range(IMAGES)))(places)
    copies = module.coco_scores(*detections(tmp_path, places))(np.arange(IMAGES))
    assert drawn == pytest.approx(copies)
    assert len(set(places)) < IMAGES


@each_framework
def test_the_tool(framework, spec_of, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'LEAST_IMAGES', 4)
    spec, other = spec_of(framework), spec_of(framework, 'other', seed=1)
    specs = [spec, RunSpec(spec.config, spec.checkpoint, 'twin'), other]
    specs.append(RunSpec(other.config, other.checkpoint, spec.label))
    options = ('--resamples', 20, '--device', 'cpu', '--cfg-options')
    rows_of('bootstrap', specs, tmp_path, *options, 'test_dataloader.num_workers=0')
    found = json.loads((tmp_path / 'bootstrap.json').read_text())
    assert found['images'] >= 4
    expected = evaluate(
        spec.config, spec.checkpoint, str(tmp_path / 'w'), cfg_options=QUICK
    )
    assert found['metrics']
    for metric, rows in found['metrics'].items():
        rounding = 0.0006 if framework == 'mmdet' else 0.006
        assert rows['twin']['value'] == pytest.approx(expected[metric], abs=rounding)
        # Seeds of one label: the mean. The same images are drawn for all.
        both = (rows['twin']['value'] + rows['other']['value']) / 2
        assert rows[framework]['value'] == pytest.approx(both)
        half = rows['twin']['differences']['other'] / 2
        assert rows[framework]['differences']['twin'] == pytest.approx(half)


def test_what_cannot_be_resampled_is_refused(spec_of, tmp_path):
    spec = spec_of('mmseg')
    with pytest.raises(UserError, match='4 test images.* of 10 images or more'):
        module.bootstrap([spec], tmp_path, Settings(device='cpu', options=QUICK))
    with pytest.raises(UserError, match='--resamples 1: at least 2'):
        module.bootstrap([spec], tmp_path, resamples=1)
    options = {'test_evaluator.type': 'CityscapesMetric'}
    with pytest.raises(UserError, match=r"type='CityscapesMetric' cannot be resampled"):
        module.bootstrap([spec], tmp_path, Settings(options=options))
    run = load_run(spec, Settings(device='cpu'))
    module.check_evaluator(run.cfg, spec.config)

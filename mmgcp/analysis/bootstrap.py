"""How much would a score change with other test images?

A test set is one sample of images. Its images are drawn anew with replacement, as many
as there are, and the metric is computed for each draw: its standard deviation over the
draws is the standard error that comes from the test images (B. Efron, "Bootstrap
Methods", 1979). Every run gets the same draws, so differences have an error too.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import collect_results

from mmgcp.datasets.building import build_dataset
from mmgcp.utils.config import load_config
from mmgcp.utils.errors import UserError
from mmgcp.utils.progress import track
from mmgcp.utils.run_specs import RunSpec

from .output import figure, name_ticks, write_result
from .sample import (
    Run,
    Settings,
    build_evaluator,
    checkpoint_file,
    load_run,
    show_images,
)

#: With fewer images the error of the error is as large.
LEAST_IMAGES = 10
RESAMPLES = 200
#: From the places of drawn images, ``(N,)``, to the metrics of these images.
Scores = Callable[[np.ndarray], dict[str, float]]


def bootstrap(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    resamples: int = RESAMPLES,
) -> dict:
    """Evaluate every run; return and draw what ``bootstrap.json`` holds.

    Runs of one label are seeds: value and error are those of their mean. For each
    metric and label it holds ``value``, ``standard_error``, and in ``differences`` the
    standard error of the difference to each other label.

    Raises:
        UserError: An evaluator cannot be resampled, the runs have different test sets,
            there are fewer than :data:`LEAST_IMAGES` images, or nothing is detected.
    """
    if resamples < 2:
        raise UserError(f'--resamples {resamples}: at least 2')
    images = _check(specs, settings)
    generator = np.random.default_rng(settings.seed)
    draws = [np.arange(images)]  # the test set as it is
    draws += list(generator.integers(images, size=(resamples, images)))
    values: dict[str, dict[str, list]] = {}
    for spec in track(specs, 'bootstrap'):
        for metric, drawn in resampled(load_run(spec, settings), draws).items():
            values.setdefault(metric, {}).setdefault(spec.label, []).append(drawn)
    result: dict = {
        'analysis': 'bootstrap',
        'runs': [spec._asdict() for spec in specs],
        'images': images,
        'resamples': resamples,
        'seed': settings.seed,
        'metrics': {metric: _errors(rows) for metric, rows in values.items()},
    }
    return write_result(result, out, draw(result['metrics']))


def check_evaluator(config: Config | dict, name: str) -> None:
    """UserError if the evaluator of config ``name`` cannot be resampled by image."""
    evaluators = config.get('test_evaluator')
    for entry in evaluators if isinstance(evaluators, list) else [evaluators]:
        kind = str((entry or {}).get('type'))
        if kind.rpartition('.')[2] not in _SCORES:
            raise UserError(
                f'{name}: test_evaluator.type={kind!r} cannot be resampled by image; '
                f'{", ".join(_SCORES)} can. Leave bootstrap out for it'
            )


def _check(specs: Sequence[RunSpec], settings: Settings) -> int:
    """Images in the test set of all runs."""
    sizes: dict[str, int] = {}
    for spec in specs:
        checkpoint_file(spec)
        config = load_config(spec.config, settings.options)
        check_evaluator(config, spec.config)
        key = str(config.test_dataloader)
        if key not in sizes:  # seeds and encoders share it
            sizes[key] = len(build_dataset(config, 'test'))
        first = next(iter(sizes.values()))
        if sizes[key] != first or first < LEAST_IMAGES:
            raise UserError(
                f'{spec.config}: {sizes[key]} test images, {specs[0].config}: {first}; '
                f'bootstrap needs one test set for all, of {LEAST_IMAGES} images or more'
            )
    return first


def resampled(run: Run, draws: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Each metric ``(len(draws),)`` of the drawn test images of a run.

    Processes share the evaluation; the first one alone returns metrics.
    """
    dataset = build_dataset(run.cfg, 'test')
    evaluator = build_evaluator(run.cfg, dataset)
    show_images(run, dataset, evaluator)
    found: dict[str, np.ndarray] = {}
    for metric in evaluator.metrics:
        results = collect_results(metric.results, len(dataset))
        if results is None:  # not the first process
            continue
        # pycocotools prints its progress.
        with contextlib.redirect_stdout(io.StringIO()):
            scores = _SCORES[type(metric).__name__](metric, results)
            rows = [scores(places) for places in draws]
        prefix = f'{metric.prefix}/' if metric.prefix else ''
        for name in rows[0]:
            found[prefix + name] = np.array([row[name] for row in rows])
    return found


def iou_scores(metric: Any, results: Sequence) -> Scores:
    """mIoU and its like, in per cent, from the areas of each image."""
    areas = torch.stack([torch.stack(list(image)) for image in results]).double()

    def scores(places: np.ndarray) -> dict[str, float]:
        found = metric.total_area_to_metrics(
            *areas[places].sum(0), metric.metrics, metric.nan_to_num, metric.beta
        )
        # A class that no drawn image holds is left out of the mean.
        means = {name: 100 * float(np.nanmean(each)) for name, each in found.items()}
        return {n if n == 'aAcc' else f'm{n}': mean for n, mean in means.items()}

    return scores


def accuracy_scores(metric: Any, results: Sequence) -> Scores:
    """Accuracy in per cent, the mean of that of each image."""
    rows = [metric.compute_metrics([image]) for image in results]
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return lambda places: {name: float(v[places].mean()) for name, v in table.items()}


def coco_scores(metric: Any, results: Sequence) -> Scores:
    """Average precision of boxes and masks, of objects of all sizes.

    pycocotools matches the boxes of each image once. An image that is drawn twice
    counts as two images.
    """
    if not metric.compute_metrics(results):  # which also fills in the ids
        raise UserError(
            'the detector detects nothing in any test image; train it longer'
        )
    kinds = [kind for kind in metric.metrics if kind in ('bbox', 'segm')]
    tables = {kind: _coco_table(metric, results, kind) for kind in kinds}

    def scores(places: np.ndarray) -> dict[str, float]:
        found = {}
        for kind, (evaluation, images) in tables.items():
            evaluation.evalImgs = images[..., places].ravel().tolist()
            evaluation.accumulate()
            # (thresholds, recalls, classes, sizes, numbers of detections)
            precision = evaluation.eval['precision'][:, :, :, 0]
            thresholds = evaluation.params.iouThrs
            # Like pycocotools: the mean over thresholds is of 100 detections.
            found[f'{kind}_mAP'] = _mean(precision[..., 0])
            for name, value in (('50', 0.5), ('75', 0.75)):
                at = np.isclose(thresholds, value)
                found[f'{kind}_mAP_{name}'] = _mean(precision[at][..., -1])
        return found

    return scores


def _coco_table(metric: Any, results: Sequence, kind: str) -> tuple[Any, np.ndarray]:
    """An evaluation by pycocotools, and its matches ``(classes, 1, images)``."""
    from pycocotools.cocoeval import COCOeval

    with tempfile.TemporaryDirectory() as folder:
        files = metric.results2json([result for _, result in results], f'{folder}/x')
        detections = metric._coco_api.loadRes(files[kind])
    evaluation = COCOeval(metric._coco_api, detections, kind)
    parameters = evaluation.params
    parameters.catIds, parameters.imgIds = metric.cat_ids, metric.img_ids
    parameters.iouThrs = np.asarray(metric.iou_thrs)
    parameters.maxDets = sorted({metric.proposal_nums[0], metric.proposal_nums[-1]})
    parameters.areaRng = parameters.areaRng[:1]
    parameters.areaRngLbl = parameters.areaRngLbl[:1]
    evaluation.evaluate()
    images = np.empty(len(evaluation.evalImgs), object)
    images[:] = evaluation.evalImgs
    return evaluation, images.reshape(len(metric.cat_ids), 1, -1)


def _mean(precision: np.ndarray) -> float:
    """Mean over what is defined; -1 stands for a class without an object."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


_SCORES = {
    'IoUMetric': iou_scores,
    'CocoMetric': coco_scores,
    'Accuracy': accuracy_scores,
}


def _errors(rows: dict[str, list[np.ndarray]]) -> dict[str, dict]:
    """Value and standard errors of each label, from the test set and its draws."""
    means = {label: np.mean(runs, axis=0) for label, runs in rows.items()}
    return {
        label: {
            'seeds': len(rows[label]),
            'value': mean[0],
            'standard_error': mean[1:].std(ddof=1),
            'differences': {
                name: (mean - other)[1:].std(ddof=1)
                for name, other in means.items()
                if name != label
            },
        }
        for label, mean in means.items()
    }


def draw(metrics: dict):
    """Each metric with two standard errors."""
    fig, axes = figure(max(len(metrics), 1))
    for axis, (metric, rows) in zip(axes[0], metrics.items(), strict=False):
        values = [row['value'] for row in rows.values()]
        errors = [2 * row['standard_error'] for row in rows.values()]
        axis.errorbar(range(len(rows)), values, errors, fmt='ko', capsize=4)
        axis.set_title(f'{metric}, 2 standard errors (test images)', fontsize='small')
        name_ticks(axis, list(rows))
    return fig

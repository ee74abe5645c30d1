"""What is left of a run's performance on corrupted images?

The fifteen corruptions of ImageNet-C at five severities are applied while the images
are read, and the config's own evaluator judges each.
"""

import contextlib
import hashlib
import io
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from mmengine import dist
from mmengine.evaluator import Evaluator
from torch.utils.data import Subset

from mmgcp.datasets.building import build_dataset
from mmgcp.datasets.corruption import SEVERITIES, Corrupt
from mmgcp.engine.distributed import is_main
from mmgcp.utils.config import framework_of, load_config
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import file_sha256, read_json, write_json
from mmgcp.utils.progress import track
from mmgcp.utils.run_specs import RunSpec
from mmgcp.weights.trained_model import NO_CHECKPOINT

from .output import figure, main_metric, name_ticks, write_result
from .sample import (
    Run,
    Settings,
    build_evaluator,
    checkpoint_file,
    load_run,
    sample_indices,
    show_images,
)
from .tables import scale_of

CLEAN = 'clean'
POSITIONS = ('load', 'pack')
# AlexNet's top-1 error on ImageNet-C, mean over the five severities, as
# google-research/augmix (imagenet.py) lists them.
ALEXNET_ERRORS = {
    'gaussian_noise': 0.886428,
    'shot_noise': 0.894468,
    'impulse_noise': 0.922640,
    'defocus_blur': 0.819880,
    'glass_blur': 0.826268,
    'motion_blur': 0.785948,
    'zoom_blur': 0.798360,
    'snow': 0.866816,
    'frost': 0.826572,
    'fog': 0.819324,
    'brightness': 0.564592,
    'contrast': 0.853204,
    'elastic_transform': 0.646056,
    'pixelate': 0.717840,
    'jpeg_compression': 0.606500,
}
# Of torchvision's AlexNet on clean images: 56.55 % top-1 in the README of
# adobe/antialiased-cnns. No source file has the formula of the relative mCE.
ALEXNET_CLEAN_ERROR = 0.4345
CORRUPTIONS = tuple(ALEXNET_ERRORS)
#: Metrics by corruption and severity.
Table = Mapping[str, Mapping[int, Mapping[str, float]]]


def robustness(
    specs: Sequence[RunSpec],
    out: str | Path,
    settings: Settings = Settings(),  # noqa: B008
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    position: str | None = None,
    metric: str | None = None,
) -> dict:
    """Evaluate every run; return and draw what ``robustness.json`` holds.

    What is finished is kept in ``out/robustness/LABEL/``, and is not done again as long
    as config, checkpoint, sample and seed are the same.

    The first run is the reference of the errors. They and the picture are of ``metric``.

    Args:
        settings: ``images`` is the size of a fixed sample of the test set, 0 for all of
            it, by default 100 for a classifier and 40 otherwise. Batch size and split
            are those of the config's test.
        position: Corrupt behind ``'load'``, the image as it is on disk (COCO-C), or in
            front of ``'pack'``, resized and cropped (ImageNet-C, default of
            classifiers).
    """
    rows: list[dict] = []
    for spec in specs:
        start = time.perf_counter()
        test = CorruptionTest(spec, Path(out), settings, position)
        clean = test.clean()
        main = main_metric(clean, metric, f'the evaluator of {spec.config}')
        table = {
            corruption: test.corrupted(corruption, severities, clean)
            for corruption in track(corruptions, spec.label)
        }
        rows.append(
            {
                **spec._asdict(),
                'framework': test.framework,
                'sample': test.sample,
                'seed': settings.seed,
                'corrupted': test.position,
                'metric': main,
                'scores': performance_under_corruption(clean, table),
                'alexnet': mean_corruption_error(table, main, test.classes, clean),
                'table': table,
                'evaluations_done_now': test.done,
                'seconds': time.perf_counter() - start,
            }
        )
    for row in rows:
        row['error_relative_to_first'] = relative_error(row, rows[0])
    result = {
        'analysis': 'robustness',
        'complete_benchmark': all(
            is_complete(row['table']) and row['sample']['images'] == row['sample']['of']
            for row in rows
        ),
        'runs': rows,
    }
    return write_result(result, out, draw(rows))


class CorruptionTest:
    """A run's test, under one corruption after another; see :func:`robustness`.

    The model is loaded at the first evaluation that is not on disk.
    """

    def __init__(
        self, spec: RunSpec, out: Path, settings: Settings, position: str | None = None
    ) -> None:
        self.spec, self.settings = spec, settings
        weights = checkpoint_file(spec)
        self.cfg = load_config(spec.config, settings.options)
        self.framework = framework_of(self.cfg)
        classifier = self.framework == 'mmpretrain'
        self.position = position or ('pack' if classifier else 'load')
        self.folder = out / 'robustness' / spec.label.replace('/', '_')
        self.dataset = build_dataset(self.cfg, 'test')
        self.step = insert_step(self.dataset, self.position, settings.seed)
        size, images = len(self.dataset), settings.images
        images = (100 if classifier else 40) if images is None else images or size
        self.indices = sorted(sample_indices(size, images, settings.seed))
        self.sample = {'split': 'test', 'images': len(self.indices), 'of': size}
        self.classes = len(self.dataset.metainfo.get('classes') or ())
        digest = file_sha256(weights) if weights else NO_CHECKPOINT
        described = (self.indices, settings.seed, self.position, self.cfg.pretty_text)
        self.key = hashlib.sha256(f'{digest}{described}'.encode()).hexdigest()
        self.done = 0

    def run(self, corruption: str, severities: Sequence[int]) -> dict:
        """Metrics by severity, from disk where they are there already."""
        path = self.folder / f'{corruption}.json'
        kept: dict = {}
        if path.is_file():
            record = read_json(path)
            if record['key'] == self.key:
                kept = {int(s): metrics for s, metrics in record['metrics'].items()}
        # One process decides for all, also while another one writes the file.
        kept = dist.all_gather_object(kept)[0]
        for severity in severities:
            if severity not in kept:
                name = CORRUPTIONS[0] if corruption == CLEAN else corruption
                kept[severity] = self.evaluate(name, severity)
                if is_main():
                    write_json(path, {'key': self.key, 'metrics': kept})
        return {severity: kept[severity] for severity in severities}

    def evaluate(self, corruption: str, severity: int) -> dict[str, float]:
        """Run the config's test under one corruption."""
        self.step.set(corruption, severity)
        # pycocotools prints its tables whatever the log level is.
        with contextlib.redirect_stdout(io.StringIO()):
            show_images(self.loaded, Subset(self.dataset, self.indices), self.evaluator)
            metrics = self.evaluator.evaluate(len(self.indices))
        self.done += 1
        return {name: float(value) for name, value in metrics.items()}

    @cached_property
    def loaded(self) -> Run:
        return load_run(self.spec, self.settings)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The config's evaluator, of the sample.

        COCO metrics take every image of the annotation file otherwise, and one that
        nobody looked at would count as one where everything was missed.
        """
        evaluator = build_evaluator(self.cfg, self.dataset)
        for metric in evaluator.metrics:
            if hasattr(metric, 'img_ids') and len(self.indices) < len(self.dataset):
                infos = map(self.dataset.get_data_info, self.indices)
                metric.img_ids = [info['img_id'] for info in infos]
        return evaluator

    def clean(self) -> dict[str, float]:
        """Metrics of the images as they are; none at all is an error."""
        metrics = self.run(CLEAN, [0])[0]
        if not metrics:
            raise UserError(
                f'{self.spec.checkpoint}: the evaluator of {self.spec.config} gave no '
                f'metric on {len(self.indices)} clean images; a detector may detect '
                'nothing. Train it longer, or take more images with --images'
            )
        return metrics

    def corrupted(
        self, corruption: str, severities: Sequence[int], clean: dict[str, float]
    ) -> dict:
        """Metrics by severity under one corruption.

        Where a detector finds nothing in any image, mmdet's COCO metric gives no value
        at all; its average precision is 0 there.
        """
        table = self.run(corruption, severities)
        for metrics in table.values():
            # -1 stands for a size of object that no image holds.
            missing = set(clean) - set(metrics) if self.framework == 'mmdet' else ()
            metrics.update({name: min(clean[name], 0.0) for name in missing})
        return table


def insert_step(dataset: Any, position: str, seed: int) -> Corrupt:
    """Put a corruption into the pipeline of a built data set."""
    while not hasattr(dataset, 'pipeline'):
        dataset = dataset.dataset
    steps = dataset.pipeline.transforms
    names = [type(step).__name__ for step in steps]
    kind = {'load': 'LoadImage', 'pack': 'Pack'}[position]
    places = [i for i, name in enumerate(names) if kind in name]
    if not places:
        raise UserError(
            f'--position {position}: no step of the test pipeline does that; there are '
            f'{", ".join(names)}'
        )
    corrupt = Corrupt(CORRUPTIONS[0], 0, seed)
    steps.insert(places[0] + (position == 'load'), corrupt)
    return corrupt


def performance_under_corruption(clean: Mapping, table: Table) -> dict:
    """mPC and rPC of every metric (C. Michaelis et al., 2019).

    ``mPC`` is the mean over corruptions and severities, ``rPC`` its share of the
    performance on clean images. COCO's metric gives -1 for sizes of objects that the
    data do not have; there is no mean of that.
    """
    result = {}
    for metric, value in clean.items():
        cells = [cell[metric] for row in table.values() for cell in row.values()]
        mean = float(np.mean(cells)) if value >= 0 else None
        share = None if mean is None or not value else mean / value
        result[metric] = {'clean': value, 'mPC': mean, 'rPC': share}
    return result


def errors(table: Table, metric: str) -> dict[str, float]:
    """Error of each corruption, mean over severities, in [0, 1]."""
    best = 100 / scale_of(metric)
    return {
        name: 1 - float(np.mean([cell[metric] for cell in row.values()])) / best
        for name, row in table.items()
    }


def is_complete(table: Table) -> bool:
    """Whether all corruptions were applied at all severities."""
    return set(table) == set(CORRUPTIONS) and all(
        set(row) == set(SEVERITIES) for row in table.values()
    )


def mean_corruption_error(
    table: Table, metric: str, classes: int, clean: Mapping[str, float]
) -> dict:
    """mCE against AlexNet, in per cent, or the reason why there is none.

    ``relative_mCE`` is that of the errors beyond the one on clean images.
    """
    if metric != 'accuracy/top1' or classes != 1000 or not is_complete(table):
        reason = "ImageNet's 1000 classes, all 15 corruptions and all 5 severities"
        return {'mCE': None, 'reason': f"AlexNet's errors are known for {reason} only"}
    found, clean_error = errors(table, metric), 1 - clean[metric] / 100
    ratios = {name: 100 * found[name] / ALEXNET_ERRORS[name] for name in CORRUPTIONS}
    beyond = [
        100 * (found[name] - clean_error) / (ALEXNET_ERRORS[name] - ALEXNET_CLEAN_ERROR)
        for name in CORRUPTIONS
    ]
    return {
        'mCE': float(np.mean(list(ratios.values()))),
        'relative_mCE': float(np.mean(beyond)),
        'CE': ratios,
    }


def relative_error(row: dict, reference: dict) -> float | None:
    """mCE with another run in AlexNet's place, in per cent."""
    own, other = (errors(r['table'], r['metric']) for r in (row, reference))
    if row['metric'] != reference['metric'] or not all(other.values()):
        return None
    return 100 * float(np.mean([own[name] / other[name] for name in own]))


def draw(rows: Sequence[dict]):
    """Performance per corruption and per severity; severity 0 is the clean one."""
    fig, axes = figure(2)
    bars, lines = axes[0]
    names = list(rows[0]['table'])
    width = 0.8 / len(rows)
    for index, row in enumerate(rows):
        metric, table = row['metric'], row['table']
        score, severities = row['scores'][metric], list(table[names[0]])
        place = np.arange(len(names)) + (index - (len(rows) - 1) / 2) * width
        cells = np.array([[table[n][s][metric] for s in severities] for n in names])
        shares = cells.mean(1) / (score['clean'] or np.nan)
        bars.bar(place, shares, width, color=f'C{index}')
        mean = 'undefined' if score['mPC'] is None else f'{score["mPC"]:.3g}'
        label = f'{row["label"]}: mPC {mean}'
        curve = [score['clean'], *cells.mean(0)]
        lines.plot([0, *severities], curve, 'o-', label=label)
    bars.set_title('share of the clean performance')
    name_ticks(bars, names)
    lines.set_title(', '.join(dict.fromkeys(row['metric'] for row in rows)))
    lines.set_xlabel('severity')
    lines.set_xticks([0, *severities])
    lines.legend(fontsize='small')
    return fig

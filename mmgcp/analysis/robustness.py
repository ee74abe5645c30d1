"""Performance on corrupted images, for any framework's test set.

The fifteen corruptions of ImageNet-C at five severities are applied while the
images are read, and the config's own evaluator judges each. Reported: mPC and
rPC (C. Michaelis et al., 2019) of every metric the evaluator gives; mCE against
AlexNet where it is defined; and, for any data set, the same ratio against the
first run.
"""

import contextlib
import copy
import hashlib
import io
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine import dist
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmgcp.utils.runner import build_runner

from .corruption import CORRUPTIONS, SEVERITIES, Corrupt
from .metrics import main_metric
from .output import colour, figure, read_json, save_figure, write_json
from .processes import is_main, progress
from .robustness_scores import (
    mean_corruption_error,
    performance_under_corruption,
    relative_error,
)
from .runs import NO_CHECKPOINT, RunSpec, build_dataset, sample_indices

CLEAN = 'clean'
POSITIONS = ('load', 'pack')


def robustness(
    specs: Sequence[RunSpec],
    out: str | Path,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    images: int | None = None,
    position: str | None = None,
    metric: str | None = None,
    seed: int = 0,
    options: dict | None = None,
    launcher: str = 'none',
) -> dict:
    """Evaluate every run under every corruption.

    What is finished is kept in ``out/robustness/LABEL/``, one file per
    corruption, and is not done again as long as config, checkpoint, sample and
    seed are the same. With several processes the images of each evaluation are
    split, as in any distributed test.

    Args:
        specs (Sequence[RunSpec]): The runs; the first is the reference.
        out (str | Path): Folder of ``robustness.json`` and ``robustness.png``.
        corruptions (Sequence[str]): Subset of the fifteen.
        severities (Sequence[int]): Subset of 1 to 5.
        images (int, optional): Size of a fixed sample of the test set; 0 for
            all of it, as the benchmark wants it. Defaults to 100 for a
            classifier and 40 otherwise.
        position (str, optional): Corrupt behind ``'load'``, the image as it is on
            disk (COCO-C), or in front of ``'pack'``, resized and cropped
            (ImageNet-C). Defaults to ``'pack'`` for a classifier, else ``'load'``.
        metric (str, optional): Metric of the picture and of the errors.
        seed (int): Seed of the corruptions and of the sample.
        options (dict, optional): Config overrides.
        launcher (str): As for a test.

    Returns:
        dict: What ``robustness.json`` holds.

    Raises:
        ValueError: An unknown corruption, severity or position.
    """
    for corruption in corruptions:
        for severity in severities:
            Corrupt(corruption, severity)
    if position not in (None, *POSITIONS):
        raise ValueError(f'position={position!r}: one of {", ".join(POSITIONS)}')
    out = Path(out)
    rows = []
    with progress() as bar:
        total = len(specs) * (1 + len(corruptions))
        task = bar.add_task('robustness', total=total)
        for spec in specs:
            start = time.perf_counter()
            bench = Bench(spec, out, images, position, seed, options, launcher)
            clean = bench.run(CLEAN, [0])[0]
            bar.advance(task)
            table = {}
            for corruption in corruptions:
                bar.update(task, description=f'{spec.label}: {corruption}')
                table[corruption] = bench.run(corruption, severities)
                bar.advance(task)
            main = main_metric(clean, metric)
            rows.append(
                {
                    'label': spec.label,
                    'config': spec.config,
                    'checkpoint': spec.checkpoint,
                    'framework': bench.cfg.default_scope,
                    'sample': bench.sample,
                    'seed': seed,
                    'corrupted': bench.position,
                    'metric': main,
                    'scores': performance_under_corruption(clean, table),
                    'alexnet': mean_corruption_error(table, main, bench.classes),
                    'table': table,
                    'evaluations_done_now': bench.done,
                    'seconds': time.perf_counter() - start,
                }
            )
            bench.close()
    for row in rows:
        first = rows[0]
        row['error_relative_to_first'] = (
            relative_error(row['table'], first['table'], row['metric'])
            if row['metric'] == first['metric']
            else None
        )
    result = {
        'analysis': 'robustness',
        'corruptions': list(corruptions),
        'severities': list(severities),
        'complete_benchmark': tuple(corruptions) == CORRUPTIONS
        and tuple(severities) == SEVERITIES
        and all(row['sample']['images'] == row['sample']['of'] for row in rows),
        'runs': rows,
    }
    if is_main():
        write_json(out / 'robustness.json', result)
        save_figure(draw(rows), out / 'robustness.png')
    return result


class Bench:
    """One run that can be evaluated under one corruption after another.

    The runner is built at the first evaluation that is not on disk.

    Args:
        spec (RunSpec): The run.
        out (Path): Folder of the results.
        images (int, optional): See :func:`robustness`, as are the others.
    """

    def __init__(
        self,
        spec: RunSpec,
        out: Path,
        images: int | None,
        position: str | None,
        seed: int,
        options: dict | None,
        launcher: str,
    ) -> None:
        if spec.checkpoint == NO_CHECKPOINT or not Path(spec.checkpoint).is_file():
            raise FileNotFoundError(f'checkpoint {spec.checkpoint} does not exist')
        self.spec, self.seed = spec, seed
        self.cfg = spec.load_config(options)
        classifier = self.cfg.default_scope == 'mmpretrain'
        self.position = position or ('pack' if classifier else 'load')
        self.folder = out / 'robustness' / spec.label.replace('/', '_')
        self.work_dir = self.folder / 'log'
        self.cfg.launcher = launcher
        self.cfg.work_dir = str(self.work_dir)
        self.cfg.load_from, self.cfg.resume = spec.checkpoint, False
        self.cfg.log_level = 'WARNING'
        if self.cfg.model.get('backbone', {}).get('init_cfg'):
            self.cfg.model.backbone.init_cfg = None
        step = {'type': 'mmgcp.Corrupt', 'corruption': CORRUPTIONS[0], 'severity': 0}
        insert_step(self.cfg, {**step, 'seed': seed}, self.position)
        self.dataset = build_dataset(self.cfg, 'test')
        size = len(self.dataset)
        if images is None:
            images = 100 if classifier else 40
        self.indices = sorted(sample_indices(size, images or size, seed))
        self.sample = {'split': 'test', 'images': len(self.indices), 'of': size}
        self.classes = len((self.dataset.metainfo or {}).get('classes') or ())
        digest = hashlib.sha256(Path(spec.checkpoint).read_bytes()).hexdigest()
        self.key = {
            'config': hashlib.sha256(self.cfg.pretty_text.encode()).hexdigest(),
            'checkpoint': digest,
            'indices': hashlib.sha256(repr(self.indices).encode()).hexdigest(),
            'seed': seed,
        }
        self.done = 0
        self._runner: Runner | None = None

    def run(self, corruption: str, severities: Sequence[int]) -> dict:
        """Metrics by severity, from disk where they are there already."""
        path = self.folder / f'{corruption}.json'
        kept: dict = {}
        if path.is_file():
            record = read_json(path)
            if record['key'] == self.key:
                kept = {int(s): metrics for s, metrics in record['metrics'].items()}
        # One process decides for all: they must not part ways on a file that
        # another one is writing.
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
        runner = self._runner or self._build()
        find_corrupt(self.dataset).set(corruption, severity)
        loader = copy.deepcopy(dict(self.cfg.test_dataloader))
        loader['dataset'] = _Subset(self.dataset, self.indices)
        loader['persistent_workers'] = False
        runner.test_loop.dataloader = Runner.build_dataloader(loader, seed=self.seed)
        # pycocotools prints its tables whatever the log level is.
        with contextlib.redirect_stdout(io.StringIO()):
            metrics = runner.test_loop.run()
        self.done += 1
        return {name: float(value) for name, value in metrics.items()}

    def _build(self) -> Runner:
        cfg = copy.deepcopy(self.cfg)
        cfg.experiment_name = f'robustness-{time.time_ns()}'
        cfg.visualizer = None
        cfg.pop('vis_backends', None)
        with contextlib.redirect_stdout(io.StringIO()):
            self._runner = build_runner(cfg)
            self._runner.call_hook('before_run')
            self._runner.load_or_resume()
            only_these_images(
                self._runner.test_loop.evaluator, self.dataset, self.indices
            )
        return self._runner

    def close(self) -> None:
        """Let go of the model and of the empty logs."""
        self._runner = None
        if is_main():
            shutil.rmtree(self.work_dir, ignore_errors=True)


class _Subset(Dataset):
    """Some images of a data set that keeps its meta information."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int):
        return self.dataset[self.indices[index]]

    def full_init(self) -> None:
        """Do what runners ask of a data set; the inner one did it already."""


def only_these_images(
    evaluator: Evaluator, dataset: Dataset, indices: Sequence[int]
) -> None:
    """Tell COCO metrics which images count.

    They take every image of the annotation file otherwise, and an image that
    nobody looked at would count as one where everything was missed.
    """
    if len(indices) == len(dataset):
        return
    for metric in evaluator.metrics:
        if hasattr(metric, 'img_ids'):
            metric.img_ids = [dataset.get_data_info(i)['img_id'] for i in indices]


def insert_step(cfg: Config, step: dict, position: str) -> None:
    """Put a step into the test pipeline, in place.

    Raises:
        ValueError: The pipeline has no step that loads or packs.
    """
    dataset = cfg.test_dataloader.dataset
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset.dataset
    steps = list(dataset.pipeline)
    names = [str(s['type']) for s in steps]
    for index, name in enumerate(names):
        if position == 'load' and 'LoadImage' in name:
            steps.insert(index + 1, step)
            break
        if position == 'pack' and name.split('.')[-1].startswith('Pack'):
            steps.insert(index, step)
            break
    else:
        wanted = 'LoadImage...' if position == 'load' else 'Pack...'
        raise ValueError(f'the test pipeline has no {wanted} step: {", ".join(names)}')
    dataset.pipeline = steps


def find_corrupt(dataset: Dataset) -> Corrupt:
    """The corruption step of a built data set."""
    while not hasattr(dataset, 'pipeline'):
        dataset = dataset.dataset
    (step,) = [s for s in dataset.pipeline.transforms if isinstance(s, Corrupt)]
    return step


def draw(rows: Sequence[dict]):
    """Performance per corruption and per severity, with the clean one dashed."""
    fig, axes = figure(2)
    bars, lines = axes[0]
    names = list(rows[0]['table'])
    width = 0.8 / len(rows)
    for index, row in enumerate(rows):
        metric, table = row['metric'], row['table']
        score = row['scores'][metric]
        clean = score['clean'] or np.nan
        values = [
            np.mean([cell[metric] for cell in table[name].values()]) / clean
            for name in names
        ]
        place = np.arange(len(names)) + (index - (len(rows) - 1) / 2) * width
        bars.bar(place, values, width, color=colour(index))
        severities = list(table[names[0]])
        curve = [np.mean([table[n][s][metric] for n in names]) for s in severities]
        label = f'{row["label"]}: mPC {score["mPC"]:.3g}'
        lines.plot(
            [0, *severities],
            [score['clean'], *curve],
            'o-',
            color=colour(index),
            label=label,
        )
    bars.set_title('share of the clean performance')
    bars.set_xticks(range(len(names)), names, rotation=90, fontsize='small')
    lines.set(
        title=', '.join(dict.fromkeys(r['metric'] for r in rows)), xlabel='severity'
    )
    lines.legend(fontsize='small')
    return fig

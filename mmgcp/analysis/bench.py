"""One run, evaluated under one corruption after another."""

import contextlib
import copy
import hashlib
import io
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine import dist
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmgcp.engine.training import build_runner

from mmgcp.datasets.corruption import CORRUPTIONS, Corrupt
from mmgcp.utils.files import read_json, write_json
from mmgcp.engine.distributed import is_main
from .runs import NO_CHECKPOINT, RunSpec, build_dataset, sample_indices

CLEAN = 'clean'
POSITIONS = ('load', 'pack')


class Bench:
    """One run that can be evaluated under one corruption after another.

    The runner is built at the first evaluation that is not on disk.

    Args:
        spec (RunSpec): The run.
        out (Path): Folder of the results.
        images (int, optional): This and the rest as in
            :func:`~mmgcp.analysis.robustness.robustness`.
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

    def clean(self) -> dict[str, float]:
        """Metrics of the images as they are.

        Raises:
            ValueError: The evaluator gave none.
        """
        metrics = self.run(CLEAN, [0])[0]
        if not metrics:
            raise ValueError(
                f'{self.spec.checkpoint}: the evaluator of {self.spec.config} gave no '
                f'metric on {len(self.indices)} clean images (a detector that detects '
                'nothing, for example). Train it longer, or take more images with '
                '--images'
            )
        return metrics

    def corrupted(
        self, corruption: str, severities: Sequence[int], clean: dict[str, float]
    ) -> dict:
        """Metrics by severity under one corruption.

        Where a detector finds nothing in any image, mmdet's COCO metric gives no
        value at all; its average precision is 0 there.

        Raises:
            KeyError: Another framework's metric of the clean images is missing.
        """
        table = self.run(corruption, severities)
        for severity, metrics in table.items():
            missing = sorted(set(clean) - set(metrics))
            if missing and self.cfg.default_scope != 'mmdet':
                raise KeyError(f'{corruption} {severity}: no {", ".join(missing)}')
            # -1 stands for a size of object that no image holds.
            metrics.update({name: min(clean[name], 0.0) for name in missing})
        return table

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

    def __init__(self, dataset: BaseDataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.metainfo = dataset.metainfo

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int):
        return self.dataset[self.indices[index]]

    def full_init(self) -> None:
        """Do what runners ask of a data set; the inner one did it already."""


def only_these_images(
    evaluator: Evaluator, dataset: BaseDataset, indices: Sequence[int]
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


def find_corrupt(dataset: BaseDataset) -> Corrupt:
    """The corruption step of a built data set."""
    while not hasattr(dataset, 'pipeline'):
        dataset = dataset.dataset
    (step,) = [s for s in dataset.pipeline.transforms if isinstance(s, Corrupt)]
    return step

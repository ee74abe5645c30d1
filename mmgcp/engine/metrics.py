"""Metrics of the robustness sets, and the keys of those of the frameworks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmgcp.registry import METRICS
from mmgcp.utils.errors import UserError
from mmgcp.utils.files import read_json


@METRICS.register_module()
class SubsetAccuracy(BaseMetric):
    """Top-1 accuracy in percent among some of a classifier's classes.

    ``pred_score`` has all classes; ``gt_label`` counts those of the subset.

    Args:
        classes: Places of the subset among the classes of the classifier.

    Raises:
        UserError: The data set has another number of classes, or the classifier fewer.

    Hendrycks et al., "Natural adversarial examples", CVPR 2021.
    """

    default_prefix = 'accuracy'

    def __init__(self, classes: Sequence[int], **kwargs) -> None:
        super().__init__(**kwargs)
        self.classes = list(classes)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep whether each of the images has the highest score at its class."""
        there = len((self.dataset_meta or {}).get('classes', self.classes))
        scores = torch.stack([sample['pred_score'] for sample in data_samples])
        if there != len(self.classes) or max(self.classes) >= scores.size(1):
            raise UserError(
                f'SubsetAccuracy: classes has {len(self.classes)} places up to '
                f'{max(self.classes)}, the data set has {there} classes and the '
                f'classifier {scores.size(1)}. Give the classes of this data set and '
                'a classifier of the whole of ImageNet'
            )
        labels = torch.cat([sample['gt_label'] for sample in data_samples])
        self.results += scores[:, self.classes].argmax(1).eq(labels).tolist()

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return ``top1``."""
        return {'top1': 100 * float(np.mean(results))}


@METRICS.register_module()
class FlipRate(BaseMetric):
    """Flip probability and top-5 distance between the frames of ImageNet-P.

    A frame is compared with the one before it, under noise with the first of its
    video. A flip is another class. The top-5 distance sums over the five best classes
    ``i`` of the former frame ``abs(i - min(rank, 6))``, with the rank in the latter.

    Args:
        reference: Metrics of the classifier to divide by, as ``tools/test.py --out``
            writes them. The published mFP and mT5D are relative to AlexNet: test it,
            and name its metrics here.

    Raises:
        UserError: Frames do not come one after the other, or ``reference`` lacks a
            perturbation.

    D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
    Corruptions and Perturbations", ICLR 2019.
    """

    default_prefix = 'perturbation'

    def __init__(self, reference: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.reference = reference if reference is None else read_json(reference)
        self._file = reference
        self._last: dict = {'video': None, 'frame': -1}
        self._former = torch.empty(0)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Compare every frame with its former one."""
        for sample in data_samples:
            score, last = sample['pred_score'], self._last
            follows = sample['video'] == last['video']
            if sample['frame'] != (last['frame'] + 1 if follows else 0):
                raise UserError(
                    f'FlipRate: frame {sample["frame"]} of {sample["video"]} follows '
                    f'frame {last["frame"]} of {last["video"]}. Test in one process, '
                    'with shuffle=False in test_dataloader.sampler'
                )
            if not follows:
                self._check_reference(sample['perturbation'])
            else:
                flips = bool(self._former.argmax() != score.argmax())
                distance = top5_distance(self._former, score)
                self.results.append((sample['perturbation'], flips, distance))
            if not follows or not sample['perturbation'].endswith('noise'):
                self._former = score
            self._last = {key: sample[key] for key in ('video', 'frame')}

    def _check_reference(self, perturbation: str) -> None:
        if self.reference is None:
            return
        for kind in ('FP', 'T5D'):
            key = f'{self.prefix}/{kind}/{perturbation}'
            if not self.reference.get(key):
                raise UserError(
                    f'FlipRate: reference={self._file} has no {key}, or 0. Test the '
                    'reference on the same perturbations'
                )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """``FP/NAME`` in percent and ``T5D/NAME``; means ``FP`` and ``T5D`` over NAME.

        Beside them ``mFP`` and ``mT5D``, in percent of ``reference``.
        """
        rows = defaultdict(list)
        for name, *pair in results:
            rows[name].append(pair)
        means = {name: np.mean(pairs, axis=0) for name, pairs in rows.items()}
        found: dict[str, float] = {}
        for place, (kind, unit) in enumerate((('FP', 100), ('T5D', 1))):
            own = {name: unit * float(mean[place]) for name, mean in means.items()}
            found.update({f'{kind}/{name}': value for name, value in own.items()})
            found[kind] = float(np.mean(list(own.values())))
            if self.reference is not None:
                ratios = [
                    value / self.reference[f'{self.prefix}/{kind}/{name}']
                    for name, value in own.items()
                ]
                found[f'm{kind}'] = 100 * float(np.mean(ratios))
        return found


def top5_distance(former: Tensor, latter: Tensor) -> int:
    """Distance of two score vectors ``(C,)``, ``C >= 5``; from 0 to 15."""
    ranks = torch.empty(len(latter), dtype=torch.long)
    order = latter.argsort(descending=True, stable=True).cpu()
    ranks[order] = torch.arange(1, len(latter) + 1)
    best = former.argsort(descending=True, stable=True)[:5].cpu()
    return int((torch.arange(1, 6) - ranks[best].clamp_max(6)).abs().sum())


_COCO_METRICS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


def known_metrics(evaluator: Any) -> list[str]:
    """Metric keys of an evaluator's config; empty where they are not known."""
    evaluator = evaluator if isinstance(evaluator, dict) else {}
    kind = str(evaluator.get('type')).rpartition('.')[2]
    if evaluator.keys() & {'prefix', 'metric_items', 'classwise', 'thrs'}:
        return []
    if kind == 'IoUMetric' and list(evaluator.get('iou_metrics', ['mIoU'])) == ['mIoU']:
        return ['aAcc', 'mIoU', 'mAcc']
    several = evaluator.get({'CocoMetric': 'metric', 'Accuracy': 'topk'}.get(kind, ''))
    several = several if isinstance(several, list | tuple) else [several]
    if kind == 'CocoMetric' and set(several) <= {'bbox', 'segm'}:
        return [f'coco/{name}_{key}' for name in several for key in _COCO_METRICS]
    if kind == 'Accuracy':
        return [f'accuracy/top{k or 1}' for k in several]
    return []

"""The score of a class that a class-activation map is followed back from."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmgcp.utils.errors import UserError


class TargetError(UserError):
    """A class is unknown, or a model has no score for it."""


@dataclass
class Target:
    """A differentiable score and what it is the score of."""

    score: Tensor
    label: int
    name: str
    found: str


def class_index(classes: list[str], name: str | None) -> int | None:
    """Index of a class by its name or number.

    Raises:
        TargetError: There is no such class.
    """
    if name is None:
        return None
    if name in classes:
        return classes.index(name)
    if name.isdigit() and int(name) < len(classes):
        return int(name)
    shown = ', '.join(classes[:12]) + (' ...' if len(classes) > 12 else '')
    raise TargetError(f'--target {name}: no such class. There are: {shown}')


def target_of(predictor: Any, inputs: Tensor, samples: list, name: str | None):
    """Run a model and give the score to follow back.

    The score of a classifier is the logit of the class. That of a segmenter is the
    mean logit over the pixels it gives to the class. That of a detector is the
    mean logit over the objects of the class that it finds.

    Raises:
        TargetError: No such class, nothing of it was found, or no known head.
    """
    wanted = class_index(predictor.classes, name)
    model = predictor.model
    if predictor.scope == 'mmpretrain':
        logits = model(inputs, mode='tensor')
        if isinstance(logits, list | tuple):
            logits = logits[-1]
        label = int(logits[0].argmax()) if wanted is None else wanted
        score, found = logits[0, label], 'logit'
    elif predictor.scope == 'mmseg':
        score, label, found = _of_segmenter(model, inputs, samples, wanted)
    else:
        score, label, found = _of_detector(model, inputs, samples, wanted)
    return Target(score, label, predictor.classes[label], found)


def _of_segmenter(model, inputs: Tensor, samples: list, wanted: int | None):
    logits = model.decode_head(model.extract_feat(inputs))
    if isinstance(logits, list | tuple):
        logits = logits[0]
    segments = logits[0].argmax(0)
    if wanted is None:
        # the class of the largest area: a segmenter has no order of certainty
        wanted = int(segments.flatten().bincount().argmax())
    pixels = segments == wanted
    if not pixels.any():
        raise TargetError(
            f'--target: no pixel of class {wanted} was found in this picture; leave '
            'the option out for the class that covers most of it'
        )
    share = float(pixels.float().mean())
    return logits[0, wanted][pixels].mean(), wanted, f'{share:.0%} of the pixels'


def _of_detector(model, inputs: Tensor, samples: list, wanted: int | None):
    features = model.extract_feat(inputs)
    if hasattr(model, 'roi_head'):
        return _of_regions(model, features, samples, wanted)
    head = getattr(model, 'bbox_head', None)
    outputs = head(features) if head is not None and _is_dense(head) else None
    if outputs is None:
        raise TargetError(
            f'{type(model).__name__}: class-activation maps need a two-stage or an '
            'anchor-based detector; --no-cam shows the maps alone'
        )
    scores = torch.cat(
        [
            level[0]
            .reshape(-1, head.cls_out_channels, *level.shape[-2:])
            .permute(0, 2, 3, 1)
            .flatten(0, 2)
            for level in outputs[0]
        ]
    )
    if wanted is None:
        wanted = int(scores[:, : head.num_classes].amax(0).argmax())
    best = scores[:, wanted].topk(min(20, len(scores))).values
    return best.mean(), wanted, f'{len(best)} anchors'


def _is_dense(head) -> bool:
    return hasattr(head, 'cls_out_channels') and hasattr(head, 'prior_generator')


def _of_regions(model, features, samples: list, wanted: int | None):
    from mmdet.structures.bbox import bbox2roi

    with torch.no_grad():
        proposals = model.rpn_head.predict(features, samples, rescale=False)
        results = model.roi_head.predict(features, proposals, samples, rescale=False)
    objects = results[0]
    if not len(objects):
        raise TargetError(
            'the detector finds nothing in this picture, so that there is no class '
            'to explain; --no-cam shows the maps alone'
        )
    if wanted is None:
        wanted = int(objects.labels[objects.scores.argmax()])
    boxes = objects.bboxes[objects.labels == wanted]
    if not len(boxes):
        raise TargetError(
            f'--target: no object of class {wanted} was found in this picture; leave '
            'the option out for the most certain class'
        )
    rois = bbox2roi([boxes.detach()])
    stages = getattr(model.roi_head, 'num_stages', None)
    result = (
        model.roi_head._bbox_forward(features, rois)
        if stages is None
        else model.roi_head._bbox_forward(stages - 1, features, rois)
    )
    score = result['cls_score'][:, wanted].mean()
    return score, wanted, f'{len(boxes)} objects'

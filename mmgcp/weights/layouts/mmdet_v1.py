"""Two-stage detectors of mmdetection 1.x, such as those of the CVPR 2020 paper.

Between 1.x and 2.x the heads moved under ``roi_head`` and the background class
moved from the first place to behind the last one. Names and places change here.
What cannot change is how boxes are encoded: 1.x counts a box one pixel wider and
centres anchors differently. mmdet 3.x has that as ``LegacyAnchorGenerator`` and
``LegacyDeltaXYWHBBoxCoder``; the metadata says that they are needed.
"""

import torch

from ..errors import CheckpointError
from ..report import KeyReport
from .base import Layout, Rule, Tensors, any_match


def is_mmdet_v1(names) -> bool:
    """Whether these are names of a two-stage detector of mmdetection 1.x."""
    return (
        any_match(r'backbone\.', names)
        and any_match(r'rpn_head\.', names)
        and any_match(r'bbox_head\.', names)
        and not any_match(r'roi_head\.', names)
    )


def _rows(tensors: Tensors, name: str) -> int | None:
    """First dimension of the weight and bias of a layer, None when either lacks."""
    weight, bias = (tensors.get(f'{name}.{part}') for part in ('weight', 'bias'))
    if weight is None or bias is None:
        return None
    if len(weight) != len(bias):
        raise CheckpointError(
            f'{name}: weight has {len(weight)} rows and bias {len(bias)}'
        )
    return len(weight)


def _set(tensors: Tensors, name: str, change, report: KeyReport, rule: str) -> None:
    for part in ('weight', 'bias'):
        tensors[f'{name}.{part}'] = change(tensors[f'{name}.{part}'])
        report.change(rule, f'{name}.{part}')


def reorder_classes(tensors: Tensors, report: KeyReport) -> Tensors:
    """Move the background from class 0 to where mmdet 3.x has it.

    Raises:
        CheckpointError: The numbers of outputs leave the order of classes open.
    """
    anchors = _rows(tensors, 'rpn_head.rpn_cls')
    deltas = _rows(tensors, 'rpn_head.rpn_reg')
    if anchors and deltas and deltas != 4 * anchors:
        raise CheckpointError(
            f'rpn_head has {anchors} scores for {deltas} box deltas: only an RPN with '
            'sigmoid (one score for each 4 deltas) can be mapped'
        )
    classes = _rows(tensors, 'roi_head.bbox_head.fc_cls')
    boxes = _rows(tensors, 'roi_head.bbox_head.fc_reg')
    masks = _rows(tensors, 'roi_head.mask_head.conv_logits')
    if classes is None:
        return tensors
    first = 'background moved from the first class to the last'
    none = 'outputs of the background cut'
    _set(
        tensors,
        'roi_head.bbox_head.fc_cls',
        lambda rows: torch.cat([rows[1:], rows[:1]]),
        report,
        first,
    )
    if boxes == 4 * classes:
        _set(tensors, 'roi_head.bbox_head.fc_reg', lambda rows: rows[4:], report, none)
    elif boxes not in (None, 4):
        raise CheckpointError(
            f'bbox_head.fc_reg has {boxes} outputs for {classes} classes with '
            'background: neither 4 per class nor 4 in all'
        )
    if masks == classes:
        _set(
            tensors,
            'roi_head.mask_head.conv_logits',
            lambda rows: rows[1:],
            report,
            none,
        )
    elif masks not in (None, 1):
        raise CheckpointError(
            f'mask_head.conv_logits has {masks} outputs for {classes} classes with '
            'background: neither one per class nor one in all'
        )
    return tensors


MMDET_V1 = Layout(
    name='mmdet-1.x',
    matches=is_mmdet_v1,
    rules=(
        Rule(r'(backbone\..+)', r'\1'),
        Rule(r'(neck\.(?:lateral|fpn)_convs\.\d\.conv\.(?:weight|bias))', r'\1'),
        Rule(r'(rpn_head\.rpn_(?:conv|cls|reg)\.(?:weight|bias))', r'\1'),
        Rule(
            r'(bbox_head\.(?:shared_fcs\.\d|fc_cls|fc_reg)\.(?:weight|bias))',
            r'roi_head.\1',
        ),
        Rule(
            r'(mask_head\.(?:convs\.\d\.conv|upsample|conv_logits)\.(?:weight|bias))',
            r'roi_head.\1',
        ),
    ),
    published_input=False,
    description='Faster or Mask R-CNN with FPN of mmdetection 1.x (CVPR 2020 paper)',
    finish=reorder_classes,
    targets=('encoder', 'detector'),
    rest='detector, not part of the encoder',
    meta=dict(
        box_coder='mmdet.LegacyDeltaXYWHBBoxCoder',
        anchor_generator='mmdet.LegacyAnchorGenerator',
    ),
)

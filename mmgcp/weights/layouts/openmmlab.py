"""Models of OpenMMLab: classifiers, detectors, segmentors, and mmdetection 1.x.

Between mmdetection 1.x and 2.x the heads moved under ``roi_head`` and the background
class moved from the first place to the last. Names and places change here. How boxes
are encoded cannot be changed: 1.x counts a box one pixel wider and centers anchors
differently. mmdet 3.x has that as ``LegacyAnchorGenerator`` and
``LegacyDeltaXYWHBBoxCoder``; the metadata says that they are needed.
"""

import torch

from ..deep_stem import names_of_mmdet
from .base import KeyReport, Layout, Tensors

_UNCHANGED = (r'(.+)', r'\1')


def _rename_stem(tensors: Tensors, report: KeyReport) -> Tensors:
    new = names_of_mmdet(tensors)
    report.kept = {old: new[name] for old, name in report.kept.items()}
    return {new[name]: tensor for name, tensor in tensors.items()}


def _move_background(tensors: Tensors, report: KeyReport) -> Tensors:
    """Move the background from class 0 to where mmdet 3.x has it."""
    box, mask = 'roi_head.bbox_head', 'roi_head.mask_head'
    classes = len(tensors.get(f'{box}.fc_cls.bias', ()))
    for layer, per_class in (
        (f'{box}.fc_cls', 1),
        (f'{box}.fc_reg', 4),
        (f'{mask}.conv_logits', 1),
    ):
        for name in (f'{layer}.weight', f'{layer}.bias'):
            rows = tensors.get(name)
            # other numbers of outputs are found in the comparison with mmdet's detector
            if rows is None or len(rows) != per_class * classes:
                continue
            first, others = rows[:per_class], rows[per_class:]
            if layer.endswith('fc_cls'):
                tensors[name] = torch.cat([others, first])
                report.changed.append(f'{name} (background moved to the end)')
            else:
                tensors[name] = others
                report.changed.append(f'{name} (background cut)')
    return tensors


LAYOUTS = (
    Layout(
        name='mmdet-1.x',
        signs=(r'backbone\.', r'rpn_head\.', r'bbox_head\.(?:shared_|fc_)'),
        rules=(
            (r'((?:backbone|neck|rpn_head)\..+)', r'\1'),
            (r'((?:bbox_head|mask_head)\..+)', r'roi_head.\1'),
        ),
        description='Faster or Mask R-CNN with FPN of mmdetection 1.x',
        finish=_move_background,
        targets=('encoder', 'detector'),
        meta=dict(
            box_coder='mmdet.LegacyDeltaXYWHBBoxCoder',
            anchor_generator='mmdet.LegacyAnchorGenerator',
        ),
    ),
    Layout(
        name='mmseg',
        signs=(r'backbone\.', r'decode_head\.'),
        rules=(_UNCHANGED,),
        description='segmentor of mmseg',
        targets=('encoder',),
    ),
    Layout(
        name='mmdet',
        signs=(r'backbone\.', r'(?:rpn_head|roi_head|bbox_head|mask_head)\.'),
        rules=(_UNCHANGED,),
        description='detector of mmdet 2.x or 3.x',
        targets=('encoder',),
    ),
    Layout(
        name='mmpretrain',
        signs=(r'backbone\.',),
        rules=((r'((?:backbone|neck|head)\..+)', r'\1'),),
        description='classifier of mmpretrain',
        finish=_rename_stem,
    ),
)

"""Models of OpenMMLab: classifiers, detectors, segmentors, and mmdetection 1.x.

Between mmdetection 1.x and 2.x the heads moved under ``roi_head`` and the background
class moved from the first place to the last. Names and places change here. How boxes
are encoded cannot be changed: 1.x counts a box one pixel wider and centers anchors
differently. mmdet 3.x has that as ``LegacyAnchorGenerator`` and
``LegacyDeltaXYWHBBoxCoder``; the metadata says that they are needed.
"""

from collections.abc import Collection

import torch

from ..deep_stem import names_of_mmdet
from .base import KeyReport, Layout, Tensors, any_match

_BACKBONE = (r'(backbone\..+)', r'\1')
_DETECTOR_HEADS = r'(?:rpn_head|roi_head|bbox_head|mask_head)\.'
_SEGMENTOR_HEADS = r'(?:decode_head|auxiliary_head)\.'


def _has(names: Collection[str], heads: str) -> bool:
    return any_match(r'backbone\.', names) and any_match(heads, names)


def _is_mmdet_v1(names: Collection[str]) -> bool:
    return (
        _has(names, r'rpn_head\.')
        and any_match(r'bbox_head\.', names)
        and not any_match(r'roi_head\.', names)
    )


def _rename_stem(tensors: Tensors, report: KeyReport) -> Tensors:
    new = names_of_mmdet(tensors)
    report.kept = {old: new[name] for old, name in report.kept.items()}
    return {new[name]: tensor for name, tensor in tensors.items()}


def _move_background(tensors: Tensors, report: KeyReport) -> Tensors:
    """Move the background from class 0 to where mmdet 3.x has it.

    Numbers of outputs that fit no such detector are found when the result is compared
    with the detector of mmdet.
    """
    box, mask = 'roi_head.bbox_head', 'roi_head.mask_head'
    classes = len(tensors.get(f'{box}.fc_cls.bias', ()))
    for layer, outputs in (
        (f'{box}.fc_cls', classes),
        (f'{box}.fc_reg', 4 * classes),
        (f'{mask}.conv_logits', classes),
    ):
        for name in (f'{layer}.weight', f'{layer}.bias'):
            rows = tensors.get(name)
            if rows is None or not classes or len(rows) != outputs:
                continue
            first, others = rows[: outputs // classes], rows[outputs // classes :]
            if layer.endswith('fc_cls'):
                tensors[name] = torch.cat([others, first])
                reason = 'background moved from the first class to the last'
            else:
                tensors[name] = others
                reason = 'outputs of the background cut'
            report.changed[reason].append(name)
    return tensors


LAYOUTS = (
    Layout(
        name='mmdet-1.x',
        matches=_is_mmdet_v1,
        rules=(
            _BACKBONE,
            (r'(neck\.(?:lateral|fpn)_convs\.\d\.conv\.(?:weight|bias))', r'\1'),
            (r'(rpn_head\.rpn_(?:conv|cls|reg)\.(?:weight|bias))', r'\1'),
            (
                r'(bbox_head\.(?:shared_fcs\.\d|fc_cls|fc_reg)\.(?:weight|bias))',
                r'roi_head.\1',
            ),
            (
                r'(mask_head\.(?:convs\.\d\.conv|upsample|conv_logits)'
                r'\.(?:weight|bias))',
                r'roi_head.\1',
            ),
        ),
        published_input=False,
        description='Faster or Mask R-CNN with FPN of mmdetection 1.x (CVPR 2020 '
        'paper)',
        finish=_move_background,
        targets=('encoder', 'detector'),
        meta=dict(
            box_coder='mmdet.LegacyDeltaXYWHBBoxCoder',
            anchor_generator='mmdet.LegacyAnchorGenerator',
        ),
    ),
    Layout(
        name='mmpretrain',
        matches=lambda names: (
            any_match(r'backbone\.', names)
            and not any_match(_DETECTOR_HEADS, names)
            and not any_match(_SEGMENTOR_HEADS, names)
        ),
        rules=(_BACKBONE, (r'((?:neck|head)\..+)', r'\1')),
        published_input=False,
        description='classifier of mmpretrain, trained with configs/pretrain or its '
        'own',
        finish=_rename_stem,
    ),
    Layout(
        name='mmdet',
        matches=lambda names: _has(names, _DETECTOR_HEADS) and not _is_mmdet_v1(names),
        rules=(
            _BACKBONE,
            (r'((?:neck|rpn_head|roi_head|bbox_head|mask_head)\..+)', r'\1'),
        ),
        published_input=False,
        description='detector of mmdet 2.x or 3.x',
        targets=('encoder',),
    ),
    Layout(
        name='mmseg',
        matches=lambda names: _has(names, _SEGMENTOR_HEADS),
        rules=(_BACKBONE, (r'((?:neck|decode_head|auxiliary_head)\..+)', r'\1')),
        published_input=False,
        description='segmentor of mmseg',
        targets=('encoder',),
    ),
)

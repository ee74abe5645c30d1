"""Checkpoints trained here: classifiers, detectors and segmenters."""

from .base import Layout, Rule, any_match
from .deep_stem import from_mmpretrain
from .mmdet_v1 import is_mmdet_v1

_WHOLE = Rule(r'(backbone\..+)', r'\1')
_DETECTOR_HEADS = r'(?:rpn_head|roi_head|bbox_head|mask_head)\.'
_SEGMENTER_HEADS = r'(?:decode_head|auxiliary_head)\.'

MMPRETRAIN = Layout(
    name='mmpretrain',
    matches=lambda names: (
        any_match(r'backbone\.', names)
        and not any_match(_DETECTOR_HEADS, names)
        and not any_match(_SEGMENTER_HEADS, names)
    ),
    rules=(_WHOLE, Rule(r'((?:neck|head)\..+)', r'\1')),
    published_input=False,
    description='classifier of mmpretrain, trained with configs/pretrain or its own',
    finish=from_mmpretrain,
)
MMDET = Layout(
    name='mmdet',
    matches=lambda names: (
        any_match(r'backbone\.', names)
        and any_match(_DETECTOR_HEADS, names)
        and not is_mmdet_v1(names)
    ),
    rules=(
        _WHOLE,
        Rule(r'((?:neck|rpn_head|roi_head|bbox_head|mask_head)\..+)', r'\1'),
    ),
    published_input=False,
    description='detector of mmdet 2.x or 3.x',
    targets=('encoder',),
    rest='detector, not part of the encoder',
)
MMSEG = Layout(
    name='mmseg',
    matches=lambda names: (
        any_match(r'backbone\.', names) and any_match(_SEGMENTER_HEADS, names)
    ),
    rules=(_WHOLE, Rule(r'((?:neck|decode_head|auxiliary_head)\..+)', r'\1')),
    published_input=False,
    description='segmenter of mmseg',
    targets=('encoder',),
    rest='segmenter, not part of the encoder',
)

LAYOUTS = (MMPRETRAIN, MMDET, MMSEG)

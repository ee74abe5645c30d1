# Does covariance pooling in pre-training help a detector and a segmenter?
# Real digits on real photographs; everything runs on two CPU cores.
title = 'GCP pre-training on scenes: detection and segmentation'
work_dir = 'work_dirs/studies/scenes'
baseline = 'gap'
seeds = [0]

_scenes = '{{$MMGCP_SCENES:data/scenes}}'
data = dict(
    command=['tools/make_scenes.py', _scenes, '--seed', '0'],
    result=_scenes + '/manifest.json',
)

# GCP encoders keep stride 16 in pre-training; `maxpool` brings them to 32 for the
# detector and the segmenter (GCP_M), `stride` would be GCP_D.
encoders = dict(
    gap=dict(
        label='GAP',
        pretrain='configs/pretrain/resnet18-w8-gap_scenes.py',
        backbone=dict(last_stage='stride'),
    ),
    isqrt=dict(
        label='iSQRT-COV',
        pretrain='configs/pretrain/resnet18-w8-isqrt_scenes.py',
        backbone=dict(last_stage='maxpool'),
    ),
    dropcov=dict(
        label='DropCov',
        pretrain='configs/pretrain/resnet18-w8-dropcov_scenes.py',
        backbone=dict(last_stage='maxpool'),
    ),
)

tasks = dict(
    detection=dict(
        label='detection and instance segmentation',
        config='configs/detection/mask-rcnn_r18-w8_fpn_scenes.py',
        metrics={'coco/bbox_mAP': 'box AP (%)', 'coco/segm_mAP': 'mask AP (%)'},
    ),
    segmentation=dict(
        label='semantic segmentation',
        config='configs/segmentation/fpn_r18-w8_scenes.py',
        metrics={'mIoU': 'mIoU (%)', 'aAcc': 'pixel accuracy (%)'},
    ),
)

# `--analyses all`; robustness on the whole test sets, at three of the five severities.
analyses = []
analysis_options = dict(
    robustness=['--images', 0, '--severities', 1, 3, 5],
)
# First guesses on two cores, for the display until the first of a kind has run.
expected_seconds = dict(pretrain=210, detection=200, segmentation=90, evaluate=15)

# Does covariance pooling in pre-training help a detector and a segmentor?
# Real digits on real photographs; everything runs on two CPU cores.
title = 'GCP pre-training on scenes: detection and segmentation'
work_dir = 'work_dirs/studies/scenes'
baseline = 'gap'
seeds = [0, 1, 2]

# Fixed before anything ran; see "Reading the tables" in docs/studies.md.
primary = ['detection/coco/bbox_mAP', 'segmentation/mIoU']
margin = 1.0
# The first two change pooling and last stage together, as published comparisons do. The
# others separate them.
contrasts = [
    ['isqrt', 'gap'],
    ['dropcov', 'gap'],
    ['gap-native', 'gap'],
    ['isqrt', 'gap-native'],
    ['dropcov', 'gap-native'],
]

_scenes = '{{$MMGCP_SCENES:data/scenes}}'
data = dict(
    command=['tools/make_scenes.py', _scenes, '--seed', '0'],
    result=_scenes + '/manifest.json',
)

# Encoders pre-trained at stride 8 (`native`) are max-pooled to stride 16 downstream
# (GCP_M). `gap-native` differs from `gap` in the last stage of pre-training, and from
# `isqrt` and `dropcov` in the pooling alone.
encoders = dict(
    gap=dict(
        label='GAP',
        pretrain='configs/pretrain/resnet18-w8-gap_scenes.py',
        backbone=dict(last_stage='stride'),
    ),
    **{
        'gap-native': dict(
            label='GAP, native',
            pretrain='configs/pretrain/resnet18-w8-gap-native_scenes.py',
            backbone=dict(last_stage='maxpool'),
        )
    },
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

# When the form of the last stage changes, so do its inputs: its batch norms are estimated
# again, for every encoder.
recalibrate = dict(images=1024)

tasks = dict(
    features=dict(
        label='frozen features, digits',
        protocol='features',
        config='configs/pretrain/resnet18-w8-gap_scenes.py',
        metrics={
            'knn/accuracy': 'k-NN top-1 (%)',
            'logistic/accuracy': 'logistic regression top-1 (%)',
        },
    ),
    frozen_segmentation=dict(
        label='frozen segmentation, linear head',
        config='configs/segmentation/linear_r18-w8_scenes.py',
        metrics={'mIoU': 'mIoU (%)', 'aAcc': 'pixel accuracy (%)'},
    ),
    detection=dict(
        label='detection',
        config='configs/detection/faster-rcnn_r18-w8_fpn_scenes.py',
        metrics={'coco/bbox_mAP': 'box AP (%)', 'coco/bbox_mAP_50': 'box AP50 (%)'},
    ),
    segmentation=dict(
        label='semantic segmentation',
        config='configs/segmentation/fpn_r18-w8_scenes.py',
        metrics={'mIoU': 'mIoU (%)', 'aAcc': 'pixel accuracy (%)'},
    ),
)

# `--analyses all`: landscape and curvature over the seeds and several samples of images;
# robustness on the whole test sets, at three of the five severities.
analyses = []
analysis_options = dict(
    landscape=['--seeds', '--images', 64],
    curvature=['--seeds', '--samples', 4],
    robustness=['--images', 0, '--severities', 1, 3, 5],
)
# Estimates on two cores, for the progress display until the first of a kind has run.
expected_seconds = dict(pretrain=70, detection=90, segmentation=50, evaluate=15)

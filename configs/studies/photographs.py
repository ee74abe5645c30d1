# Real photographs: CIFAR-10, then blood cells (BCCD) and streets (CamVid). Where they
# come from: docs/photographs.md. Two CPU cores are enough.
title = 'GCP pre-training on CIFAR-10: cells and streets'
work_dir = 'work_dirs/studies/photographs'
baseline = 'gap'
seeds = [0, 1, 2]

# Decided before anything ran; see "Reading the tables" in docs/studies.md.
primary = ['cells/coco/bbox_mAP', 'streets/mIoU']
margin = 1.0
contrasts = [
    ['isqrt', 'gap'],
    ['dropcov', 'gap'],
    ['gap-native', 'gap'],
    ['isqrt', 'gap-native'],
    ['dropcov', 'gap-native'],
]

# The encoders of the study on scenes, pre-trained on photographs: 8 x 8 positions for
# 32 channels. `gap-native` differs from `gap` in the last stage of pre-training, and
# from `isqrt` and `dropcov` in the pooling alone.
encoders = dict(
    gap=dict(
        label='GAP',
        pretrain='configs/pretrain/resnet18-w8-gap_cifar10.py',
        backbone=dict(last_stage='stride'),
    ),
    **{
        'gap-native': dict(
            label='GAP, native',
            pretrain='configs/pretrain/resnet18-w8-gap-native_cifar10.py',
            backbone=dict(last_stage='maxpool'),
        )
    },
    isqrt=dict(
        label='iSQRT-COV',
        pretrain='configs/pretrain/resnet18-w8-isqrt_cifar10.py',
        backbone=dict(last_stage='maxpool'),
    ),
    dropcov=dict(
        label='DropCov',
        pretrain='configs/pretrain/resnet18-w8-dropcov_cifar10.py',
        backbone=dict(last_stage='maxpool'),
    ),
)

recalibrate = dict(images=1024)

_ap = {'coco/bbox_mAP': 'box AP (%)', 'coco/bbox_mAP_50': 'box AP50 (%)'}
_iou = {'mIoU': 'mIoU (%)', 'aAcc': 'pixel accuracy (%)'}
tasks = dict(
    frozen_streets=dict(
        label='streets, linear head on a frozen encoder',
        config='configs/segmentation/linear_r18-w8_camvid.py',
        metrics=_iou,
    ),
    frozen_cells=dict(
        label='cells, detector on a frozen encoder',
        config='configs/detection/faster-rcnn_r18-w8_fpn_bccd.py',
        overrides=dict(model=dict(backbone=dict(frozen_stages=4))),
        metrics=_ap,
    ),
    streets=dict(
        label='streets, fine-tuned',
        config='configs/segmentation/fpn_r18-w8_camvid.py',
        metrics=_iou,
    ),
    cells=dict(
        label='cells, fine-tuned',
        config='configs/detection/faster-rcnn_r18-w8_fpn_bccd.py',
        metrics=_ap,
    ),
)
expected_seconds = dict(
    pretrain=200, frozen_streets=40, frozen_cells=60, streets=60, cells=60
)

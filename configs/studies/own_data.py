# Your own data. Change the paths, then:
#   python tools/study.py configs/studies/own_data.py --dry-run
# Class names and numbers are read from the data. Before anything trains, boxes outside
# the image, empty classes, unknown labels and images that do not open are listed.
title = 'GCP pre-training on my data'
work_dir = 'work_dirs/studies/own_data'
baseline = 'gap'
seeds = [0, 1, 2]
# The end-points that decide, and the margin in points below which a difference is
# irrelevant.
primary = ['detection/coco/bbox_mAP', 'segmentation/mIoU']
margin = 1.0

_root = 'data/own'
own_data = dict(
    # One folder per class. Remove this part when the encoders are ready files.
    classification=dict(train=f'{_root}/cls/train', val=f'{_root}/cls/val', test=None),
    # COCO json and its images. Without `test` the final figures are those of `val`.
    detection=dict(
        train=dict(images=f'{_root}/det/train', annotations=f'{_root}/det/train.json'),
        val=dict(images=f'{_root}/det/val', annotations=f'{_root}/det/val.json'),
    ),
    # Images and PNG masks of the same name: 255 is ignored; with reduce_zero_label 0 too.
    segmentation=dict(
        train=dict(images=f'{_root}/seg/img/train', masks=f'{_root}/seg/ann/train'),
        val=dict(images=f'{_root}/seg/img/val', masks=f'{_root}/seg/ann/val'),
        reduce_zero_label=False,
    ),
)
# pretrain=CONFIG trains an encoder; checkpoint=FILE uses a ready one. `overrides`
# change any config, e.g. overrides=dict(train_cfg=dict(max_epochs=20)).
_pretrain = 'configs/pretrain/resnet50-{}_8xb32-lrnorm_in1k.py'
encoders = dict(
    gap=dict(pretrain=_pretrain.format('gap')),
    isqrt=dict(pretrain=_pretrain.format('isqrt'), backbone=dict(last_stage='maxpool')),
)
_det = 'configs/detection/faster-rcnn_r50-gap_fpn_1x_coco.py'
_seg = 'configs/segmentation/fpn_r50-gap_4xb4-160k_ade20k-512x512.py'
tasks = dict(
    detection=dict(config=_det, metrics={'coco/bbox_mAP': 'box AP (%)'}),
    segmentation=dict(config=_seg, metrics={'mIoU': 'mIoU (%)'}),
)

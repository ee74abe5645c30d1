_base_ = [
    '../_base_/models/faster-rcnn_r18-w8_fpn.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/default_runtime_det.py',
    '../_base_/schedules/photographs_detection.py',
]

# The encoder: init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint=FILE)
model = dict(
    backbone=dict(last_stage='stride'),
    # Up to 30 cells in an image; scenes have up to 6 digits.
    roi_head=dict(bbox_head=dict(num_classes=3)),
    test_cfg=dict(rcnn=dict(max_per_img=100)),
)

default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=1)
)
randomness = dict(seed=0)

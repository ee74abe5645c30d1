_base_ = [
    '../_base_/models/faster-rcnn_r18-w8_fpn.py',
    '../_base_/datasets/scenes_detection.py',
    '../_base_/default_runtime_det.py',
    '../_base_/schedules/scenes_detection.py',
]

# The encoder: init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint=FILE)
model = dict(backbone=dict(last_stage='stride'))

default_hooks = dict(
    logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=2)
)
randomness = dict(seed=0)

_base_ = [
    '../_base_/models/upernet_r18-w8.py',
    '../_base_/datasets/scenes_segmentation.py',
    '../_base_/default_runtime_seg.py',
    '../_base_/schedules/scenes_segmentation.py',
]

# The encoder: init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint=FILE)
model = dict(backbone=dict(last_stage='stride'))

# Epochs, not iterations as in ADE20K's schedules: the data set is small.
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)

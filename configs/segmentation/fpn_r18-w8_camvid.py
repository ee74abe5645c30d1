_base_ = [
    '../_base_/models/fpn_r18-w8.py',
    '../_base_/datasets/camvid.py',
    '../_base_/default_runtime_seg.py',
    '../_base_/schedules/photographs_segmentation.py',
]

# The encoder: init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint=FILE)
model = dict(
    data_preprocessor=dict(size=(120, 160), seg_pad_val=11),
    backbone=dict(last_stage='stride'),
    decode_head=dict(num_classes=11, ignore_index=11),
)

# Epochs, not iterations as in ADE20K's schedules: the data set is small.
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)

# Learning rates decay by 0.95 per layer, as published; the schedule is Swin's 1x.
_base_ = [
    '../_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_swin_1x.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        gap_before_final_norm=False,
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder',
            checkpoint='checkpoints/convnext-tiny-gap.pth',
            # The norms of the inner maps do not exist in pre-training.
            allow_missing=('norm0.*', 'norm1.*', 'norm2.*'),
        ),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
optim_wrapper = dict(
    constructor='LearningRateDecayOptimizerConstructor',
    paramwise_cfg=dict(
        _delete_=True, decay_rate=0.95, decay_type='layer_wise', num_layers=6
    ),
)

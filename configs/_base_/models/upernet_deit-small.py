# mmpretrain's DeiT-S, as in pre-training; the position embedding is
# interpolated to the size of the image. Levels from layers 3, 6, 9 and 12, rescaled
# to strides 4, 8, 16 and 32.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        out_indices=(2, 5, 8, 11),
        out_type='featmap',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder', checkpoint='checkpoints/deit-small-cls.pth'
        ),
    ),
    neck=dict(
        type='MultiLevelNeck',
        in_channels=[384, 384, 384, 384],
        out_channels=384,
        scales=[4, 2, 1, 0.5],
    ),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384, in_index=3),
)

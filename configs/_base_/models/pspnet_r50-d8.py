# Stride 8: stages 3 and 4 are dilated instead of strided. The last stage has stride 1 as
# in GCP pre-training, but dilation 4 instead of 1. For a gap encoder the missing stride
# is new too. There is no choice of a strided or max-pooled last stage, so one config
# serves every encoder file.
_base_ = './upernet_r50.py'

model = dict(
    backbone=dict(last_stage='native', strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),
    decode_head=dict(
        _delete_=True,
        type='PSPHead',
        in_channels=2048,
        in_index=3,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
)

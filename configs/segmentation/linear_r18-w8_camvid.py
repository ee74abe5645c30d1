# Frozen evaluation: batch norm and a 1 x 1 convolution on the maps of a frozen encoder.
_base_ = './fpn_r18-w8_camvid.py'

model = dict(
    backbone=dict(frozen_stages=4, norm_eval=True),
    neck=None,
    decode_head=dict(
        _delete_=True,
        type='mmgcp.LinearSegmentationHead',
        in_channels=[16, 32, 64],
        in_index=[0, 1, 2],
        num_classes=11,
        ignore_index=11,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0, avg_non_ignore=True),
    ),
)

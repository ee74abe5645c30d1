# The final norm acts on the map, not after the pooling: a covariance needs the map.
_base_ = './swin-tiny-gap.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ConvNeXt',
        arch='tiny',
        drop_path_rate=0.1,
        gap_before_final_norm=False,
    ),
    init_cfg=dict(
        _delete_=True,
        type='TruncNormal',
        layer=['Conv2d', 'Linear'],
        std=0.02,
        bias=0.0,
    ),
)

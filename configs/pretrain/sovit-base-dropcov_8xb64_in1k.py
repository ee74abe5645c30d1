# 12 * 24 * 24 = 6912 entries. No published result of DeiT-B with this head.
_base_ = './sovit-base-cls_8xb64_in1k.py'

model = dict(
    backbone=dict(out_type='raw'),
    neck=dict(
        _delete_=True,
        type='mmgcp.MultiHeadCrossCovariancePooling',
        in_channels=768,
        num_heads=12,
        head_dims=24,
    ),
    head=dict(type='mmgcp.TokenFusionHead', second_order_channels=6912),
)

# "DeiT-S + DropCov" of the paper, 25.6 M parameters: class token plus cross-covariance
# of the patch tokens, 6 * 24 * 24 = 3456 entries.
_base_ = './sovit-small-cls_8xb128_in1k.py'

model = dict(
    backbone=dict(out_type='raw'),
    # `match_released_code` is left at its default: the published classifier weights then give the
    # published logits.
    neck=dict(
        _delete_=True,
        type='mmgcp.MultiHeadCrossCovariancePooling',
        in_channels=384,
        num_heads=6,
        head_dims=24,
    ),
    head=dict(type='mmgcp.TokenFusionHead', second_order_channels=3456),
)

# Class token plus cross-covariance of the patch tokens: 6 * 24 * 24 = 3456 entries.
# The row "DeiT-S + DropCov" of the paper is a So-ViT (sovit-small-dropcov); this is the
# same head on DeiT's own patch embedding.
_base_ = './deit-small-cls_8xb128_in1k.py'

model = dict(
    backbone=dict(out_type='raw'),
    neck=dict(
        _delete_=True,
        type='mmgcp.MultiHeadCrossCovariancePooling',
        in_channels=384,
        num_heads=6,
        head_dims=24,
        # No published weights to fit: what the paper means, not what its code does.
        match_released_code=False,
    ),
    head=dict(type='mmgcp.TokenFusionHead', second_order_channels=3456),
)

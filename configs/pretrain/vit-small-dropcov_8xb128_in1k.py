# Class token plus cross-covariance of the patch tokens: 6 * 24 * 24 = 3456 entries, the
# head of the DropCov transformers.
_base_ = './vit-small-gap_8xb128_in1k.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.MultiHeadCrossCovariancePooling',
        in_channels=384,
        num_heads=6,
        head_dims=24,
        # No published weights to fit: what the paper means, not what its code does.
        match_released_code=False,
    ),
    head=dict(
        _delete_=True,
        type='mmgcp.TokenFusionHead',
        num_classes=1000,
        in_channels=384,
        second_order_channels=3456,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        cal_acc=False,
    ),
)

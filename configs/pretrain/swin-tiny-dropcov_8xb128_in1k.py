# The paper reports Swin-T with DropCov, but its code has no Swin. Heads and channels are
# those of its DeiT-S: 6 * 24 * 24 = 3456 entries, beside the mean token.
_base_ = './swin-tiny-gap_8xb128_in1k.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.MultiHeadCrossCovariancePooling',
        in_channels=768,
        num_heads=6,
        head_dims=24,
        # No published weights to fit: what the paper means, not what its code does.
        match_released_code=False,
    ),
    head=dict(
        _delete_=True,
        type='mmgcp.TokenFusionHead',
        num_classes=1000,
        in_channels=768,
        second_order_channels=3456,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        cal_acc=False,
    ),
)

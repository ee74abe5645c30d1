# GCP_M: max-pooling in front of the last stage, which keeps the stride of 1 it was
# pre-trained with.
_base_ = './fpn_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        depth=101,
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet101-isqrt.pth'),
    )
)

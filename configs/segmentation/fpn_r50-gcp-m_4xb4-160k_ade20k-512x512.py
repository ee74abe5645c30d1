# GCP_M: max-pooling before the last stage, which keeps stride 1 as in pre-training.
_base_ = './fpn_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt.pth'),
    )
)

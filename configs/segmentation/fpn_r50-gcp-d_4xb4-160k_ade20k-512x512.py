# GCP_D: the last stage gets back the stride of 2 that it did not have in pre-training.
_base_ = './fpn_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt.pth'),
    )
)

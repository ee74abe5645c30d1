# iSQRT-COV, pre-trained with stride 2 in the last stage, as it is used here.
_base_ = './upernet_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt-downsample.pth'),
    )
)

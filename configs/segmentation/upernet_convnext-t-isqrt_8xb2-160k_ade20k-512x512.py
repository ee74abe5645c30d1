_base_ = './upernet_convnext-t-gap_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='checkpoints/convnext-tiny-isqrt.pth'))
)

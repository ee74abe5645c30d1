_base_ = './upernet_r50-dropcov_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='checkpoints/resnet101-dropcov.pth')
    )
)

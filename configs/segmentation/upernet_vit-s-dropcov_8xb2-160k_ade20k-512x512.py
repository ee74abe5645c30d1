_base_ = './upernet_vit-s-gap_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='checkpoints/vit-small-dropcov.pth'))
)

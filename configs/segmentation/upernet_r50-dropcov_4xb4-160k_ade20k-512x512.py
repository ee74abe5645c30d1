# A DropCov encoder with max-pooling before its last stage, as in GCP_M.
_base_ = './upernet_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-dropcov.pth'),
    )
)

# A DropCov encoder, brought to stride 32 as GCP_M is.
_base_ = './upernet_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-dropcov.pth'),
    )
)

# Average pooling, pre-trained with stride 1 in the last stage, brought to stride 32 as
# GCP_M is: what gcp-m differs from in its pooling alone.
_base_ = './upernet_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-gap-native.pth'),
    )
)

# Average pooling, pre-trained with stride 1 in the last stage and max-pooled before it
# as in GCP_M. Only the pooling head differs from gcp-m.
_base_ = './fpn_r50-gap_4xb4-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-gap-native.pth'),
    )
)

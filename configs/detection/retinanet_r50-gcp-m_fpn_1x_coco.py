# GCP_M: max-pooling before the last stage, which keeps stride 1 as in pre-training.
_base_ = './retinanet_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt.pth'),
    )
)

# GCP_M: max-pooling in front of the last stage, which keeps the stride of 1 it was
# pre-trained with.
_base_ = './faster-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet101-isqrt.pth'),
    )
)

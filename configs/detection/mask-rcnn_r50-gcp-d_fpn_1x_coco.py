# GCP_D: the strided convolution that pre-training had left out.
_base_ = './mask-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt.pth'),
    )
)

# GCP_D: the last stage gets back the stride of 2 that it did not have in pre-training.
_base_ = './mask-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt.pth'),
    )
)

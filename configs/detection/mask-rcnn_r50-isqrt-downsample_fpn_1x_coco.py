# iSQRT-COV, pre-trained with the stride of 2 that the last stage has here too.
_base_ = './mask-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt-downsample.pth'),
    )
)

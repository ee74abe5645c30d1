# iSQRT-COV, pre-trained with stride 2 in the last stage, as it is used here.
_base_ = './faster-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='checkpoints/resnet50-isqrt-downsample.pth'),
    )
)

_base_ = './faster-rcnn_r50-isqrt-downsample_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint='checkpoints/resnet101-isqrt-downsample.pth'),
    )
)

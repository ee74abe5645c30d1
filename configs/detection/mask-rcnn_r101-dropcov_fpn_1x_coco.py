_base_ = './mask-rcnn_r50-dropcov_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='checkpoints/resnet101-dropcov.pth')
    )
)

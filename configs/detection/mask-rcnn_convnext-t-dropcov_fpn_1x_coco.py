_base_ = './mask-rcnn_convnext-t-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='checkpoints/convnext-tiny-dropcov.pth'))
)

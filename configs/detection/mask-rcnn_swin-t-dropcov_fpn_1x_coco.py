_base_ = './mask-rcnn_swin-t-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='checkpoints/swin-tiny-dropcov.pth'))
)

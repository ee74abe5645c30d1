_base_ = './faster-rcnn_vit-s-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='checkpoints/vit-small-dropcov.pth'))
)

# A DropCov encoder with max-pooling before its last stage, as in GCP_M.
_base_ = './faster-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-dropcov.pth'),
    )
)

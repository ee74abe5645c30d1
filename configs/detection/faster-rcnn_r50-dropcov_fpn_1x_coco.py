# A DropCov encoder, brought to stride 32 as GCP_M is.
_base_ = './faster-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-dropcov.pth'),
    )
)

# A DropCov encoder, brought to stride 32 as GCP_M is.
_base_ = './mask-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        depth=101,
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet101-dropcov.pth'),
    )
)

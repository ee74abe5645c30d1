# Average pooling, pre-trained with stride 1 in the last stage, brought to stride 32 as
# GCP_M is: what gcp-m differs from in its pooling alone.
_base_ = './faster-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-gap-native.pth'),
    )
)

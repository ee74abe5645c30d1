# Average pooling, pre-trained with stride 1 in the last stage and max-pooled before it
# as in GCP_M. Only the pooling head differs from gcp-m.
_base_ = './faster-rcnn_r50-gap_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        last_stage='maxpool',
        init_cfg=dict(checkpoint='checkpoints/resnet50-gap-native.pth'),
    )
)

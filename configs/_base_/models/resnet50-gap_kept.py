# Keeps the encoder of an ImageNet classifier; only the linear classifier is new.
_base_ = './resnet50-gap.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='mmgcp.PretrainedEncoder',
            checkpoint='checkpoints/resnet50-gap-classifier.pth',
        )
    )
)

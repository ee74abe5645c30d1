# Keeps encoder and pooling head of an ImageNet classifier; only the linear classifier is
# new.
_base_ = './resnet50-isqrt.py'

kept_file = 'checkpoints/resnet50-isqrt-classifier.pth'
model = dict(
    backbone=dict(init_cfg=dict(type='mmgcp.PretrainedEncoder', checkpoint=kept_file)),
    neck=dict(init_cfg=dict(type='mmgcp.PretrainedNeck', checkpoint=kept_file)),
)

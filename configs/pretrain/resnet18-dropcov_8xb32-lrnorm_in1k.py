# 64 channels, as in the published ResNet-18: 64 * 65 / 2 = 2080 entries.
_base_ = './resnet50-dropcov_8xb32-lrnorm_in1k.py'

model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=512, reduced_channels=64),
    head=dict(in_channels=2080),
)

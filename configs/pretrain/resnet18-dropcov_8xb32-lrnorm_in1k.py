# 64 channels: the dimension of the one ResNet-18 that was published, 64 * 65 / 2 = 2080.
_base_ = './resnet50-dropcov_8xb32-lrnorm_in1k.py'

model = dict(
    backbone=dict(depth=18),
    neck=dict(in_channels=512, reduced_channels=64),
    head=dict(in_channels=2080),
)

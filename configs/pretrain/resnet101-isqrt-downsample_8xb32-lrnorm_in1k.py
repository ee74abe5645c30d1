_base_ = './resnet50-isqrt-downsample_8xb32-lrnorm_in1k.py'

model = dict(backbone=dict(depth=101))

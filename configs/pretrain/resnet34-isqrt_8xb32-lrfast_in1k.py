_base_ = './resnet50-isqrt_8xb32-lrfast_in1k.py'

model = dict(backbone=dict(depth=34), neck=dict(in_channels=512))

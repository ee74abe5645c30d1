_base_ = './resnet50-gap_8xb32-lrfast_in1k.py'

model = dict(backbone=dict(depth=34), head=dict(in_channels=512))

_base_ = './resnet50-gap_1xb10_cars.py'

model = dict(
    backbone=dict(frozen_stages=4, norm_eval=True),
)

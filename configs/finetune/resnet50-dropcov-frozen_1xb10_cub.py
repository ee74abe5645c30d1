_base_ = './resnet50-dropcov_1xb10_cub.py'

model = dict(
    backbone=dict(frozen_stages=4, norm_eval=True),
    neck=dict(frozen=True),
)

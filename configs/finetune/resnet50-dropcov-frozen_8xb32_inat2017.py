_base_ = './resnet50-dropcov_8xb32_inat2017.py'

model = dict(
    backbone=dict(frozen_stages=4, norm_eval=True),
    neck=dict(frozen=True),
)

# Average pooling over 14 x 14 positions, as in covariance pooling: the last stage has
# stride 1. Only the pooling head differs from `isqrt` and `dropcov`, only the stride
# from `gap`.
_base_ = './resnet50-gap_8xb32-lrnorm_in1k.py'

model = dict(backbone=dict(last_stage='native'))

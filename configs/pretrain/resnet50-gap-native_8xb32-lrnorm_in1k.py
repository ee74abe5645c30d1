# Average pooling over the 14 x 14 positions that covariance pooling sees: the last stage
# has stride 1. Against `isqrt` and `dropcov` only the pooling differs; against `gap`
# only the resolution.
_base_ = './resnet50-gap_8xb32-lrnorm_in1k.py'

model = dict(backbone=dict(last_stage='native'))

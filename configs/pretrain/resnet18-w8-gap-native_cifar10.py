# Average pooling over the positions that covariance pooling sees: the last stage has
# stride 1. Against `isqrt` and `dropcov` only the pooling differs.
_base_ = './resnet18-w8-gap_cifar10.py'

model = dict(backbone=dict(last_stage='native'))

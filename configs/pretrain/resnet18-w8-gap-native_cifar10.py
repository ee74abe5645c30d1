# Average pooling over as many positions as covariance pooling: the last stage has
# stride 1. Only the pooling head differs from `isqrt` and `dropcov`.
_base_ = './resnet18-w8-gap_cifar10.py'

model = dict(backbone=dict(last_stage='native'))

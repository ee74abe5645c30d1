# 128 channels instead of 256: 128 * 129 / 2 = 8256 entries to the classifier.
_base_ = './resnet50-isqrt_8xb32-lrnorm_in1k.py'

model = dict(neck=dict(reduced_channels=128), head=dict(in_channels=8256))

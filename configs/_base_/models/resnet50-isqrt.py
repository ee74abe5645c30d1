# Covariance of 256 channels over 14 x 14 positions (last stage with stride 1), square
# root by 5 Newton-Schulz iterations; 256 * 257 / 2 = 32896 entries to the classifier.
_base_ = './resnet50-gap.py'

model = dict(
    backbone=dict(last_stage='native'),
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=2048,
        reduced_channels=256,
        normalization=dict(type='NewtonSchulz', iterations=5),
    ),
    head=dict(in_channels=32896),
)

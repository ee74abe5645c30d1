# Adaptive channel dropout instead of a normalization. The parameter counts published
# for ResNet-34/50/101 (29.6, 32.0, 51.0 M) are those of 128 channels, not of the 256
# in the released code: 128 * 129 / 2 = 8256 entries to the classifier.
_base_ = './resnet50-gap_8xb32-lrnorm_in1k.py'

model = dict(
    backbone=dict(last_stage='native'),
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=2048,
        reduced_channels=128,
        dropout=dict(type='DropCov'),
    ),
    head=dict(in_channels=8256),
)

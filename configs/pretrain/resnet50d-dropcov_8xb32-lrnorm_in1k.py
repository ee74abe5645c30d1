# As ResNet-50 with this head, on the stem and shortcuts of ResNet-50-D.
_base_ = './resnet50d-gap_8xb32-lrnorm_in1k.py'

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

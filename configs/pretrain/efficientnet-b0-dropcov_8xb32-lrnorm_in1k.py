# As MobileNetV2 with this head: total stride 32, 128 channels. No published result.
_base_ = './efficientnet-b0-gap_8xb32-lrnorm_in1k.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=1280,
        reduced_channels=128,
        dropout=dict(type='DropCov'),
    ),
    head=dict(in_channels=8256),
)

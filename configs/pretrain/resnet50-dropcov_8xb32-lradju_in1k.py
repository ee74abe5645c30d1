# No published result of DropCov with this schedule.
_base_ = './resnet50-gap_8xb32-lradju_in1k.py'

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

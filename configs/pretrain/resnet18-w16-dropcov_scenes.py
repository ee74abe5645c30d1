_base_ = './resnet18-w16-gap_scenes.py'

model = dict(
    # As published: covariance pooling removes the last stride in pre-training,
    # here 3 x 3 positions instead of 2 x 2 at 48 pixels.
    backbone=dict(last_stage='native'),
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=128,
        reduced_channels=64,
        normalization=None,
        dropout=dict(type='DropCov'),
    ),
    head=dict(in_channels=2080),  # 64 x 65 / 2
)

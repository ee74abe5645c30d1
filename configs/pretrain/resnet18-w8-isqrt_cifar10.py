_base_ = './resnet18-w8-gap_cifar10.py'

model = dict(
    # As published: covariance pooling removes the last stride in pre-training. 64
    # positions for 32 channels (published: 196 positions for 64 to 256 channels).
    backbone=dict(last_stage='native'),
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=64,
        reduced_channels=32,
        normalization=dict(type='NewtonSchulz', iterations=5),
    ),
    head=dict(in_channels=528),  # 32 x 33 / 2
)

# The encoder keeps its stride of 32 (7 x 7 positions); dropout 0.2 before the
# classifier and ReLU6 after the reduction, as in the official network.
_base_ = './mobilenet-v2-gap.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='mmgcp.GlobalCovariancePooling',
        in_channels=1280,
        reduced_channels=256,
        normalization=dict(type='NewtonSchulz', iterations=5),
        act_cfg=dict(type='ReLU6'),
        drop_rate=0.2,
    ),
    head=dict(in_channels=32896),
)
